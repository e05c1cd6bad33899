//! Hashes, lists, sets and sorted sets with writes under way over them.
//!
//! [`Changes`] is what a layer of pending writes knows about the elements of one key; [`FoundCollection`] is a collection and up to
//! two of them. An element is looked up from the top down. Going through all takes those of each layer that no layer above it
//! names, and merges them where there is an order. Counting adds what each change adds, as the mutation says, so it does not look
//! at the layers below.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;

use super::found::LAYERS;
use crate::collection::{CollectionRef, Content, Element, End, Kind, Tree, block, score};
use crate::merged::Facet;
use crate::merged::view::{Scratch, shown};

/// A member of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scored<'a> {
    pub member: &'a [u8],
    pub score: f64,
}

impl<'a> Scored<'a> {
    /// Of an element of a sorted set.
    pub fn of(element: &Element<'a>) -> Self {
        Scored { member: element.name, score: score::decode(element.value) }
    }

    /// Does it stand before `other`?
    fn is_before(&self, other: &Self) -> bool {
        (score::encode(self.score), self.member) < (score::encode(other.score), other.member)
    }
}

/// The writes to elements in one layer.
#[derive(Debug)]
pub(super) struct Changes {
    pub kind: Kind,
    /// What each element became last, and where. `None`: it is gone.
    elements: BTreeMap<Bytes, (u64, Option<Bytes>)>,
    /// Those of a sorted set that are there, by score.
    by_score: BTreeSet<Bytes>,
    /// Each write: where, of which element, and how much it adds to the number of elements.
    written: VecDeque<(u64, Bytes, i8)>,
    /// The sum of what they add.
    added: i64,
    /// What was taken from the ends: nothing below this layer that stands at or before the first name, or at or behind the second
    /// one, is there any more. In the order of a list, or of scores.
    taken: [Option<Bytes>; 2],
}

impl Changes {
    pub fn new(kind: Kind) -> Self {
        let (elements, by_score, written) = (BTreeMap::new(), BTreeSet::new(), VecDeque::new());
        Changes { kind, elements, by_score, written, added: 0, taken: [None, None] }
    }

    pub fn set(&mut self, position: u64, name: Bytes, value: Bytes, is_new: bool) {
        let adds = i8::from(is_new);
        let ordered_name = match self.kind {
            Kind::SortedSet => Bytes::from(score::rank_name(&value, &name)),
            _ => name.clone(),
        };
        // Where something is put there is something.
        if self.taken[0].as_ref().is_some_and(|taken| ordered_name <= taken) {
            self.taken[0] = None;
        }
        if self.taken[1].as_ref().is_some_and(|taken| ordered_name >= taken) {
            self.taken[1] = None;
        }
        if self.kind == Kind::SortedSet {
            self.unrank(&name);
            self.by_score.insert(ordered_name);
        }
        self.note(position, name, Some(value), adds);
    }

    pub fn remove(&mut self, position: u64, name: Bytes, at_end: Option<End>, score: &[u8]) {
        if let Some(end) = at_end {
            let ordered_name = match self.kind {
                Kind::SortedSet => Bytes::from(score::rank_name(score, &name)),
                _ => name.clone(),
            };
            self.taken[end as usize] = Some(ordered_name);
        }
        if self.kind == Kind::SortedSet {
            self.unrank(&name);
        }
        self.note(position, name, None, -1);
    }

    /// The layers below hold everything up to `position`.
    pub fn forget(&mut self, position: u64) {
        while let Some((_, name, adds)) = self.written.pop_front_if(|(at, ..)| *at <= position) {
            self.added -= i64::from(adds);
            if self.elements.get(&name).is_some_and(|(at, _)| *at <= position) {
                if self.kind == Kind::SortedSet {
                    self.unrank(&name);
                }
                self.elements.remove(&name);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    fn note(&mut self, position: u64, name: Bytes, value: Option<Bytes>, adds: i8) {
        self.added += i64::from(adds);
        self.written.push_back((position, name.clone(), adds));
        self.elements.insert(name, (position, value));
    }

    /// Takes a member out of the order by score.
    fn unrank(&mut self, name: &[u8]) {
        if let Some((_, Some(value))) = self.elements.get(name) {
            self.by_score.remove(&score::rank_name(value, name)[..]);
        }
    }

    fn names(&self, name: &[u8]) -> bool {
        self.elements.contains_key(name)
    }

    /// The elements that are there, in the order of their names.
    fn present(&self) -> impl DoubleEndedIterator<Item = Element<'_>> {
        let of_list = |taken: &Option<Bytes>| match taken {
            Some(name) if self.kind == Kind::List => Bound::Excluded(name.clone()),
            _ => Bound::Unbounded,
        };
        let (first, last) = (of_list(&self.taken[0]), of_list(&self.taken[1]));
        // All was taken from both ends: nothing is between them.
        let is_nothing =
            matches!((&first, &last), (Bound::Excluded(first), Bound::Excluded(last)) if first >= last);
        let elements = (!is_nothing).then(|| self.elements.range((first, last)));
        elements
            .into_iter()
            .flatten()
            .filter_map(|(name, (_, value))| Some(Element { name, value: value.as_deref()? }))
    }

    fn scored(&self) -> impl DoubleEndedIterator<Item = Scored<'_>> {
        self.by_score.iter().map(|name| ranked(name))
    }
}

/// A collection as a command finds it.
#[derive(Clone, Debug)]
pub struct FoundCollection<'a> {
    /// Of which type.
    pub kind: Kind,
    base: CollectionRef<'a>,
    /// The values of the base are the bytes of elements that merge: of which facet, and where to keep what is made of them.
    merging: Option<(Facet, &'a Scratch)>,
    /// From the lowest to the topmost.
    layers: [Option<&'a Changes>; LAYERS],
    /// When the key ends, in wall clock milliseconds.
    pub expire_at_ms: Option<u64>,
}

type Boxed<'a, T> = Box<dyn Iterator<Item = T> + 'a>;

impl<'a> FoundCollection<'a> {
    pub(super) fn new(
        base: CollectionRef<'a>,
        kind: Kind,
        expire_at_ms: Option<u64>,
        merging: Option<(Facet, &'a Scratch)>,
    ) -> Self {
        FoundCollection { kind, base, merging, layers: [None; LAYERS], expire_at_ms }
    }

    /// One without elements.
    pub(super) fn empty(kind: Kind) -> Self {
        FoundCollection::new(CollectionRef::packed(kind, &[]), kind, None, None)
    }

    /// An element of the base as it is shown.
    fn shown(&self, element: Element<'a>) -> Element<'a> {
        match self.merging {
            None => element,
            Some((facet, scratch)) => Element { value: shown(facet, element.value, scratch), ..element },
        }
    }

    /// Elements of the base as they are shown.
    fn all_shown(&self, elements: Boxed<'a, Element<'a>>) -> Boxed<'a, Element<'a>> {
        match self.merging {
            None => elements,
            Some((facet, scratch)) => Box::new(
                elements
                    .map(move |element| Element { value: shown(facet, element.value, scratch), ..element }),
            ),
        }
    }

    /// Puts the writes of a layer over what is there.
    pub(super) fn write_over(&mut self, changes: &'a Changes) {
        if !changes.is_empty() {
            let free = self.layers.iter_mut().find(|layer| layer.is_none());
            *free.expect("there are no more layers than this") = Some(changes);
        }
    }

    fn layers(&self) -> impl DoubleEndedIterator<Item = &'a Changes> + use<'a> {
        self.layers.into_iter().flatten()
    }

    fn is_plain(&self) -> bool {
        self.layers[0].is_none()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        let added: i64 = self.layers().map(|layer| layer.added).sum();
        (self.base.len() as i64 + added).max(0) as usize
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of an element.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        for layer in self.layers().rev() {
            if let Some((_, value)) = layer.elements.get(name) {
                return value.as_deref();
            }
        }
        self.base.get(name).map(|value| self.shown(Element { name: &[], value }).value)
    }

    /// Is there an element of this name?
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// The score of a member.
    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        self.get(member).map(score::decode)
    }

    /// All elements: those of a list in order, others in any.
    pub(crate) fn elements(&self) -> Boxed<'a, Element<'a>> {
        let of_layer = |layer: &'a Changes| -> Boxed<'a, _> { Box::new(layer.present()) };
        let base = match (self.list_tree(), self.taken(End::First)) {
            (Some(tree), Some(taken)) => Box::new(tree.iter_at(taken)),
            _ => self.base.elements(),
        };
        self.merged(
            self.all_shown(base),
            of_layer,
            |element| element.name,
            |one, other| one.name < other.name,
        )
    }

    /// All elements, packed.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.base.bytes());
        self.elements().for_each(|element| element.write(&mut content));
        content
    }

    /// All elements of a list, from the last to the first.
    pub(crate) fn elements_reversed(&self) -> Boxed<'a, Element<'a>> {
        let base: Boxed<'a, Element<'a>> = match (self.base.content, self.taken(End::Last)) {
            (Content::Packed(run), _) => Box::new(block::reversed(run)),
            (Content::Tree(collection), Some(taken)) => {
                Box::new(collection.elements().iter_back_before(taken))
            }
            (Content::Tree(collection), None) => Box::new(collection.elements().iter_back_from(usize::MAX)),
        };
        let of_layer = |layer: &'a Changes| -> Boxed<'a, _> { Box::new(layer.present().rev()) };
        self.merged(
            self.all_shown(base),
            of_layer,
            |element| element.name,
            |one, other| one.name > other.name,
        )
    }

    /// The elements of a list from the one before which so many stand.
    pub(crate) fn elements_from(&self, index: usize) -> Boxed<'a, Element<'a>> {
        match self.base.content {
            Content::Tree(collection) if self.is_plain() => {
                self.all_shown(Box::new(collection.elements().iter_from(index)))
            }
            _ => Box::new(self.elements().skip(index)),
        }
    }

    /// The element of a list before which so many stand.
    pub(crate) fn element_at(&self, index: usize) -> Option<Element<'a>> {
        // From the nearer end, if writes are under way.
        let length = self.len();
        if !self.is_plain() && index > length / 2 {
            return self.elements_reversed().nth(length.checked_sub(index + 1)?);
        }
        self.elements_from(index).next()
    }

    /// Some element, by chance.
    pub(crate) fn draw(&self, chance: u64) -> Option<Element<'a>> {
        let Content::Tree(collection) = self.base.content else {
            return self.elements().nth((chance % self.len().max(1) as u64) as usize);
        };
        let of_layers = || {
            let layers = self.layers().enumerate();
            layers.flat_map(|(index, layer)| {
                layer.present().filter(move |element| !self.is_hidden(element.name, index + 1))
            })
        };
        let rank = (chance % self.len().max(1) as u64) as usize;
        if !self.is_plain()
            && let Some(element) = of_layers().nth(rank)
        {
            return Some(element);
        }
        // What the layers name is not taken from below them: draw again.
        let tree = collection.elements();
        let mut chance = chance;
        for _ in 0..100 {
            let element = tree.at((chance % tree.len().max(1) as u64) as usize)?;
            if !self.is_hidden(element.name, 0) {
                return Some(self.shown(element));
            }
            chance =
                chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 1;
        }
        self.elements().next()
    }

    /// The elements at or after a cursor, and the next cursor (0: that was all). For `HSCAN`, `SSCAN` and `ZSCAN`.
    pub(crate) fn scan(&self, cursor: u64, count: usize) -> (Vec<Element<'a>>, u64) {
        let Content::Tree(collection) = self.base.content else {
            return (self.elements().collect(), 0);
        };
        let tree: &'a Tree = collection.elements();
        // Writes under way are seen in transactions only; they are given with the first part.
        let mut found = Vec::new();
        if cursor == 0 {
            for (index, layer) in self.layers().enumerate() {
                found.extend(layer.present().filter(|element| !self.is_hidden(element.name, index + 1)));
            }
        }
        let mut rank = cursor << CURSOR_SHIFT;
        loop {
            let (run, next) = tree.run_from(rank);
            let run = run.filter(|element| !self.is_hidden(element.name, 0));
            found.extend(run.map(|element| self.shown(element)));
            let Some(next) = next else { return (found, 0) };
            // A cursor has fewer bits than a rank: runs that begin at the same cursor go together.
            let is_at_once = next >> CURSOR_SHIFT == rank >> CURSOR_SHIFT;
            if found.len() >= count && !is_at_once {
                return (found, next >> CURSOR_SHIFT);
            }
            rank = next;
        }
    }

    /// The members of a sorted set from the lowest, or from the highest down.
    pub(crate) fn scored(&self, backwards: bool) -> Boxed<'a, Scored<'a>> {
        self.scored_from(if backwards { usize::MAX } else { 0 }, backwards, 0)
    }

    /// The same from the first that stands at or after these bytes of score and member (the last before them).
    pub(crate) fn scored_at(&self, rank_name: &[u8], backwards: bool) -> Boxed<'a, Scored<'a>> {
        if let Some(by_score) = self.plain_tree() {
            let rank = by_score.rank_of(rank_name);
            return match (backwards, rank.checked_sub(1)) {
                (false, _) => self.scored_from(rank, false, 0),
                (true, Some(last)) => self.scored_from(last, true, 0),
                (true, None) => Box::new(std::iter::empty()),
            };
        }
        let bound = rank_name.to_vec();
        let is_outside = move |scored: &Scored<'a>| {
            let below = score::rank_name(&score::encode(scored.score), scored.member) < bound;
            below != backwards
        };
        Box::new(self.scored(backwards).skip_while(is_outside))
    }

    /// The same from the one before which so many stand.
    pub(crate) fn scored_at_rank(&self, rank: usize, backwards: bool) -> Boxed<'a, Scored<'a>> {
        if self.plain_tree().is_some() {
            return self.scored_from(rank, backwards, 0);
        }
        let skipped = if backwards { self.len().saturating_sub(rank + 1) } else { rank };
        self.scored_from(if backwards { usize::MAX } else { 0 }, backwards, skipped)
    }

    /// How many members stand before these bytes of score and member.
    pub(crate) fn rank_of(&self, rank_name: &[u8]) -> usize {
        if let Some(by_score) = self.plain_tree() {
            return by_score.rank_of(rank_name);
        }
        let is_before = |scored: &Scored<'_>| {
            score::rank_name(&score::encode(scored.score), scored.member)[..] < *rank_name
        };
        self.scored(false).take_while(is_before).count()
    }

    /// A long list, whatever lies over it.
    fn list_tree(&self) -> Option<&'a Tree> {
        match self.base.content {
            Content::Tree(collection) if self.kind == Kind::List => Some(collection.elements()),
            _ => None,
        }
    }

    /// What of the base was taken from one end: everything up to this name, in its order.
    fn taken(&self, end: End) -> Option<&'a [u8]> {
        let taken = self.layers().filter_map(|layer| layer.taken[end as usize].as_deref());
        if end == End::First { taken.max() } else { taken.min() }
    }

    /// The tree by score, if nothing lies over it.
    fn plain_tree(&self) -> Option<&'a Tree> {
        match self.base.content {
            Content::Tree(collection) if self.is_plain() => collection.by_score(),
            _ => None,
        }
    }

    fn scored_from(&self, rank: usize, backwards: bool, skipped: usize) -> Boxed<'a, Scored<'a>> {
        let by_score = match self.base.content {
            Content::Tree(collection) => collection.by_score(),
            Content::Packed(_) => None,
        };
        let base: Boxed<'a, Scored<'a>> = match by_score {
            Some(tree) if backwards => match self.taken(End::Last) {
                Some(taken) => Box::new(tree.iter_back_before(taken).map(|element| ranked(element.name))),
                None => Box::new(tree.iter_back_from(rank).map(|element| ranked(element.name))),
            },
            Some(tree) => match self.taken(End::First) {
                Some(taken) => Box::new(tree.iter_at(taken).map(|element| ranked(element.name))),
                None => Box::new(tree.iter_from(rank).map(|element| ranked(element.name))),
            },
            None => {
                let mut members: Vec<_> =
                    self.all_shown(self.base.elements()).map(|element| Scored::of(&element)).collect();
                members.sort_unstable_by_key(|scored| (score::encode(scored.score), scored.member));
                if backwards {
                    members.reverse();
                }
                Box::new(members.into_iter())
            }
        };
        let all = if backwards {
            self.merged(
                base,
                |layer| Box::new(layer.scored().rev()),
                |scored| scored.member,
                |one, other| other.is_before(one),
            )
        } else {
            self.merged(base, |layer| Box::new(layer.scored()), |scored| scored.member, Scored::is_before)
        };
        if skipped == 0 { all } else { Box::new(all.skip(skipped)) }
    }

    /// Does a layer from this one up name the element?
    fn is_hidden(&self, name: &[u8], from: usize) -> bool {
        is_named(&self.layers[from..], name)
    }

    /// What the base has, and what the layers have, each but for what a layer above it names, in order.
    fn merged<T: Copy + 'a>(
        &self,
        base: Boxed<'a, T>,
        of_layer: impl Fn(&'a Changes) -> Boxed<'a, T>,
        name_of: fn(&T) -> &'a [u8],
        is_before: fn(&T, &T) -> bool,
    ) -> Boxed<'a, T> {
        if self.is_plain() {
            return base;
        }
        let layers = self.layers;
        let unhidden = move |source: Boxed<'a, T>, from: usize| -> Peekable<Boxed<'a, T>> {
            let unhidden: Boxed<'a, T> =
                Box::new(source.filter(move |item| !is_named(&layers[from..], name_of(item))));
            unhidden.peekable()
        };
        let mut sources = vec![unhidden(base, 0)];
        for (index, layer) in self.layers().enumerate() {
            sources.push(unhidden(of_layer(layer), index + 1));
        }
        Box::new(std::iter::from_fn(move || {
            let mut least: Option<(usize, T)> = None;
            for (index, source) in sources.iter_mut().enumerate() {
                if let Some(&item) = source.peek()
                    && least.as_ref().is_none_or(|(_, before)| is_before(&item, before))
                {
                    least = Some((index, item));
                }
            }
            sources[least?.0].next()
        }))
    }
}

fn is_named(layers: &[Option<&Changes>], name: &[u8]) -> bool {
    layers.iter().flatten().any(|layer| layer.names(name))
}

/// The member that stands under this name in the order of scores.
fn ranked(name: &[u8]) -> Scored<'_> {
    let (score, member) = name.split_at(score::SCORE_BYTES);
    Scored { member, score: score::decode(score) }
}

/// A cursor has no more bits than a floating point number takes without loss.
const CURSOR_SHIFT: u32 = 12;

//! Parts of a sorted set, by rank, score or member: `ZRANGE`, `ZCOUNT`, `ZREMRANGEBYRANK` and their like.

use bytes::Bytes;
use resp::Value;

use super::{Result, members, parse_score};
use crate::collection::{Element, Kind, score};
use crate::commands::edit::{Edit, store};
use crate::commands::{element_range, integer, is_word};
use crate::context::Context;
use crate::errors;
use crate::view::{FoundCollection, Scored};

/// By what a part is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Member,
}

/// An end of a range of members.
#[derive(Clone, Copy, Debug)]
enum MemberEnd<'a> {
    /// `-`
    Lowest,
    /// `+`
    Highest,
    /// `[member`
    At(&'a [u8]),
    /// `(member`
    Beside(&'a [u8]),
}

/// Which part.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    /// From one rank to another, both included; negative ones are counted from the end.
    Ranks(i64, i64),
    /// Scores as numbers in their order: from the first on, before the second.
    Scores(u64, u64),
    Members(MemberEnd<'a>, MemberEnd<'a>),
}

impl<'a> Part<'a> {
    /// The part between two arguments; with `backwards` the greater one comes first.
    fn parse(by: By, first: &'a Bytes, second: &'a Bytes, backwards: bool) -> Result<Part<'a>> {
        let (low, high) = if backwards { (second, first) } else { (first, second) };
        match by {
            By::Rank => Ok(Part::Ranks(integer(first)?, integer(second)?)),
            By::Score => {
                let (low, low_is_out) = score_end(low)?;
                let (high, high_is_out) = score_end(high)?;
                Ok(Part::Scores(low + u64::from(low_is_out), high + u64::from(!high_is_out)))
            }
            By::Member => Ok(Part::Members(member_end(low)?, member_end(high)?)),
        }
    }

    /// The members of the part, from its start or from its end.
    fn of(self, found: &FoundCollection<'a>, backwards: bool) -> Box<dyn Iterator<Item = Scored<'a>> + 'a> {
        let (low, high) = match self {
            Part::Ranks(start, end) => {
                let length = found.len();
                let Some((start, end)) = element_range(start, end, length) else {
                    return Box::new(std::iter::empty());
                };
                let first = if backwards { length - 1 - start } else { start };
                return Box::new(found.scored_at_rank(first, backwards).take(end - start + 1));
            }
            Part::Scores(low, high) => (low.to_be_bytes().to_vec(), high.to_be_bytes().to_vec()),
            Part::Members(low, high) => match (found.scored(false).next(), found.scored(true).next()) {
                (Some(first), Some(last)) if first.score == last.score => {
                    let score = score::encode(first.score);
                    (low.bound(score, false), high.bound(score, true))
                }
                // Members stand in their own order only if all scores are equal; what is to come otherwise is not said anywhere.
                _ => {
                    let is_inside = move |scored: &Scored<'a>| {
                        low.allows(scored.member, false) && high.allows(scored.member, true)
                    };
                    return Box::new(found.scored(backwards).filter(is_inside));
                }
            },
        };
        if low >= high {
            return Box::new(std::iter::empty());
        }
        let rank_name = |scored: &Scored<'a>| score::rank_name(&score::encode(scored.score), scored.member);
        match backwards {
            false => {
                Box::new(found.scored_at(&low, false).take_while(move |scored| rank_name(scored) < high))
            }
            true => Box::new(found.scored_at(&high, true).take_while(move |scored| rank_name(scored) >= low)),
        }
    }

    fn count(self, found: &FoundCollection<'a>) -> usize {
        let (low, high) = match self {
            Part::Scores(low, high) => (low.to_be_bytes(), high.to_be_bytes()),
            _ => return self.of(found, false).count(),
        };
        found.rank_of(&high).saturating_sub(found.rank_of(&low))
    }
}

/// `1.5`, `(1.5`: the score as a number in its order, and whether it is left out.
fn score_end(argument: &Bytes) -> Result<(u64, bool)> {
    let (number, is_out) = match argument.strip_prefix(b"(") {
        Some(rest) => (argument.slice_ref(rest), true),
        None => (argument.clone(), false),
    };
    let score = parse_score(&number).map_err(|_| errors::MIN_MAX_NOT_FLOAT)?;
    Ok((u64::from_be_bytes(score::encode(score)), is_out))
}

fn member_end(argument: &Bytes) -> Result<MemberEnd<'_>> {
    match &argument[..] {
        b"-" => Ok(MemberEnd::Lowest),
        b"+" => Ok(MemberEnd::Highest),
        [b'[', member @ ..] => Ok(MemberEnd::At(member)),
        [b'(', member @ ..] => Ok(MemberEnd::Beside(member)),
        _ => Err(errors::MIN_MAX_NOT_LEX),
    }
}

impl MemberEnd<'_> {
    /// Is a member on the right side of this end?
    fn allows(self, member: &[u8], is_upper: bool) -> bool {
        match (self, is_upper) {
            (MemberEnd::Lowest, false) | (MemberEnd::Highest, true) => true,
            (MemberEnd::Lowest, true) | (MemberEnd::Highest, false) => false,
            (MemberEnd::At(end), false) => member >= end,
            (MemberEnd::At(end), true) => member <= end,
            (MemberEnd::Beside(end), false) => member > end,
            (MemberEnd::Beside(end), true) => member < end,
        }
    }

    /// The bytes of score and member at which a range begins, or before which it ends, if all have this score.
    fn bound(self, score: [u8; score::SCORE_BYTES], is_upper: bool) -> Vec<u8> {
        // Nothing stands between a name and itself with a zero after it.
        match (self, is_upper) {
            (MemberEnd::Lowest, _) => score.to_vec(),
            (MemberEnd::Highest, _) => (u64::from_be_bytes(score) + 1).to_be_bytes().to_vec(),
            (MemberEnd::At(end), false) | (MemberEnd::Beside(end), true) => score::rank_name(&score, end),
            (MemberEnd::Beside(end), false) | (MemberEnd::At(end), true) => [&score, end, &[0]].concat(),
        }
    }
}

/// What the options of `ZRANGE` and its like say.
#[derive(Debug)]
struct Options {
    by: By,
    backwards: bool,
    /// Where to begin within the part, and how many at most.
    limit: Option<(i64, i64)>,
    with_scores: bool,
}

impl Options {
    fn all(by: By, backwards: bool) -> Options {
        Options { by, backwards, limit: None, with_scores: false }
    }

    /// `is_free`: `BYSCORE`, `BYLEX` and `REV` are options, and not in the name of the command.
    fn parse(mut self, words: &[Bytes], is_free: bool, is_store: bool) -> Result<Options> {
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            rest = after;
            match () {
                () if !is_store && is_word(word, "WITHSCORES") => self.with_scores = true,
                () if is_word(word, "LIMIT") && rest.len() >= 2 => {
                    self.limit = Some((integer(&rest[0])?, integer(&rest[1])?));
                    rest = &rest[2..];
                }
                () if is_free && is_word(word, "REV") => self.backwards = true,
                () if is_free && is_word(word, "BYLEX") => self.by = By::Member,
                () if is_free && is_word(word, "BYSCORE") => self.by = By::Score,
                () => return Err(errors::SYNTAX),
            }
        }
        // A count of -1 is all there is, so Redis lets it pass.
        if self.by == By::Rank && self.limit.take().is_some_and(|(_, count)| count != -1) {
            return Err(Value::error(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if self.with_scores && self.by == By::Member {
            return Err(Value::error("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        Ok(self)
    }

    fn select<'a>(&self, part: Part<'a>, found: &FoundCollection<'a>) -> Vec<Scored<'a>> {
        let all = part.of(found, self.backwards);
        match self.limit {
            None => all.collect(),
            Some((offset, _)) if offset < 0 => Vec::new(),
            Some((offset, count)) if count < 0 => all.skip(offset as usize).collect(),
            Some((offset, count)) => all.skip(offset as usize).take(count as usize).collect(),
        }
    }
}

pub(crate) fn zrange(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let options = Options::all(By::Rank, false).parse(&arguments[4..], true, false)?;
    give(context, arguments, &options)
}

pub(crate) fn zrevrange(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let options = Options::all(By::Rank, true).parse(&arguments[4..], false, false)?;
    give(context, arguments, &options)
}

pub(crate) fn zrangebyscore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let options = Options::all(By::Score, false).parse(&arguments[4..], false, false)?;
    give(context, arguments, &options)
}

pub(crate) fn zrevrangebyscore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let options = Options::all(By::Score, true).parse(&arguments[4..], false, false)?;
    give(context, arguments, &options)
}

pub(crate) fn zrangebylex(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let options = Options::all(By::Member, false).parse(&arguments[4..], false, false)?;
    give(context, arguments, &options)
}

pub(crate) fn zrevrangebylex(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let options = Options::all(By::Member, true).parse(&arguments[4..], false, false)?;
    give(context, arguments, &options)
}

fn give(context: &mut Context<'_>, arguments: &[Bytes], options: &Options) -> Result {
    let part = Part::parse(options.by, &arguments[2], &arguments[3], options.backwards)?;
    let found = context.collection(&arguments[1], Kind::SortedSet)?;
    let selected = found.map_or(Vec::new(), |found| options.select(part, &found));
    Ok(members(&selected, options.with_scores))
}

pub(crate) fn zrangestore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let options = Options::all(By::Rank, false).parse(&arguments[5..], true, true)?;
    let part = Part::parse(options.by, &arguments[3], &arguments[4], options.backwards)?;
    let found = context.collection(&arguments[2], Kind::SortedSet)?;
    let selected = found.map_or(Vec::new(), |found| options.select(part, &found));
    store_members(context, &arguments[1], &selected);
    Ok(Value::Integer(selected.len() as i64))
}

/// `key` holds these members from now on.
pub(super) fn store_members(context: &mut Context<'_>, key: &Bytes, members: &[Scored<'_>]) {
    let scores: Vec<_> = members.iter().map(|scored| score::encode(scored.score)).collect();
    let elements = members.iter().zip(&scores).map(|(scored, value)| Element { name: scored.member, value });
    store(context, key, Kind::SortedSet, elements);
}

pub(crate) fn zcount(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    count(context, arguments, By::Score)
}

pub(crate) fn zlexcount(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    count(context, arguments, By::Member)
}

fn count(context: &mut Context<'_>, arguments: &[Bytes], by: By) -> Result {
    let part = Part::parse(by, &arguments[2], &arguments[3], false)?;
    let found = context.collection(&arguments[1], Kind::SortedSet)?;
    Ok(Value::Integer(found.map_or(0, |found| part.count(&found)) as i64))
}

pub(crate) fn zremrangebyrank(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    remove(context, arguments, By::Rank)
}

pub(crate) fn zremrangebyscore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    remove(context, arguments, By::Score)
}

pub(crate) fn zremrangebylex(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    remove(context, arguments, By::Member)
}

fn remove(context: &mut Context<'_>, arguments: &[Bytes], by: By) -> Result {
    let part = Part::parse(by, &arguments[2], &arguments[3], false)?;
    let mut set = Edit::open(context, &arguments[1], Kind::SortedSet)?;
    let Some(found) = set.found() else { return Ok(Value::Integer(0)) };
    let names: Vec<_> = part.of(found, false).map(|scored| Bytes::copy_from_slice(scored.member)).collect();
    let removed = names.into_iter().filter(|name| set.remove(name.clone())).count();
    if removed > 0 {
        set.finish(context);
    }
    Ok(Value::Integer(removed as i64))
}

//! What is made of several sorted sets (or sets, whose members have the score 1): `ZUNION`, `ZINTER`, `ZDIFF`.

use std::collections::BTreeMap;

use bytes::Bytes;
use resp::Value;

use super::range::store_members;
use super::{Result, members, parse_score};
use crate::collection::{Kind, score};
use crate::commands::{integer, is_word};
use crate::context::Context;
use crate::errors;
use crate::view::{Found, FoundCollection, Scored};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algebra {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the scores of a member that several have.
#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, one: f64, other: f64) -> f64 {
        match self {
            // The sum of both infinities is 0, as in Redis.
            Aggregate::Sum => number(one + other),
            Aggregate::Min => one.min(other),
            Aggregate::Max => one.max(other),
        }
    }
}

fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// The sets that a command names, and its options.
struct Given<'a> {
    sets: Vec<Option<FoundCollection<'a>>>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: usize,
}

/// What a command does with the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Give,
    Store,
    Count,
}

impl<'a> Given<'a> {
    /// `numkeys key ... [WEIGHTS ...] [AGGREGATE ...] [WITHSCORES] [LIMIT n]`.
    fn parse(
        context: &mut Context<'a>,
        arguments: &[Bytes],
        algebra: Algebra,
        purpose: Use,
    ) -> Result<Given<'a>> {
        let count = integer(&arguments[0])?;
        let Some(count) = usize::try_from(count).ok().filter(|&count| count > 0) else {
            return Err(Value::error(format!(
                "ERR at least 1 input key is needed for '{}' command",
                context.name
            )));
        };
        let (keys, mut rest) = arguments[1..].split_at_checked(count).ok_or(errors::SYNTAX)?;
        let mut sets = Vec::new();
        for key in keys {
            sets.push(match context.find(key) {
                None => None,
                Some(Found::Collection(found)) if matches!(found.kind, Kind::Set | Kind::SortedSet) => {
                    Some(found)
                }
                Some(_) => return Err(errors::WRONG_TYPE),
            });
        }
        let weights = vec![1.0; count];
        let mut given =
            Given { sets, weights, aggregate: Aggregate::Sum, with_scores: false, limit: usize::MAX };
        let may_weigh = algebra != Algebra::Difference && purpose != Use::Count;
        while let Some((word, after)) = rest.split_first() {
            rest = after;
            match () {
                () if may_weigh && is_word(word, "WEIGHTS") && rest.len() >= count => {
                    let weights = rest[..count]
                        .iter()
                        .map(|weight| parse_score(weight).map_err(|_| errors::WEIGHT_NOT_FLOAT));
                    given.weights = weights.collect::<Result<_>>()?;
                    rest = &rest[count..];
                }
                () if may_weigh && is_word(word, "AGGREGATE") && !rest.is_empty() => {
                    given.aggregate = match &rest[0] {
                        word if is_word(word, "SUM") => Aggregate::Sum,
                        word if is_word(word, "MIN") => Aggregate::Min,
                        word if is_word(word, "MAX") => Aggregate::Max,
                        _ => return Err(errors::SYNTAX),
                    };
                    rest = &rest[1..];
                }
                () if purpose == Use::Give && is_word(word, "WITHSCORES") => given.with_scores = true,
                () if purpose == Use::Count && is_word(word, "LIMIT") && !rest.is_empty() => {
                    let limit = integer(&rest[0]).ok().and_then(|limit| usize::try_from(limit).ok());
                    given.limit = match limit.ok_or(errors::LIMIT_NEGATIVE)? {
                        0 => usize::MAX,
                        limit => limit,
                    };
                    rest = &rest[1..];
                }
                () => return Err(errors::SYNTAX),
            }
        }
        Ok(given)
    }

    /// The members of the result in the order of their scores.
    fn result(&self, algebra: Algebra) -> Vec<Scored<'a>> {
        let mut scores: BTreeMap<&'a [u8], f64> = BTreeMap::new();
        match algebra {
            Algebra::Union => {
                for (set, weight) in self.sets.iter().zip(&self.weights) {
                    for (member, score) in scored(set) {
                        let score = number(score * weight);
                        let whole = scores.entry(member);
                        whole.and_modify(|whole| *whole = self.aggregate.of(*whole, score)).or_insert(score);
                    }
                }
            }
            Algebra::Intersection => {
                let smallest =
                    self.sets.iter().min_by_key(|set| set.as_ref().map_or(0, FoundCollection::len));
                for (member, _) in smallest.into_iter().flat_map(scored) {
                    let all: Option<Vec<f64>> = self
                        .sets
                        .iter()
                        .zip(&self.weights)
                        .map(|(set, weight)| Some(number(score_in(set, member)? * weight)))
                        .collect();
                    let whole = all
                        .and_then(|all| all.into_iter().reduce(|one, other| self.aggregate.of(one, other)));
                    if let Some(whole) = whole {
                        scores.insert(member, whole);
                    }
                }
            }
            Algebra::Difference => {
                for (member, score) in scored(&self.sets[0]) {
                    if !self.sets[1..].iter().any(|set| score_in(set, member).is_some()) {
                        scores.insert(member, score);
                    }
                }
            }
        }
        let mut result: Vec<_> = scores.into_iter().map(|(member, score)| Scored { member, score }).collect();
        result.sort_by_key(|scored| (score::encode(scored.score), scored.member));
        result
    }
}

fn scored<'a>(set: &Option<FoundCollection<'a>>) -> impl Iterator<Item = (&'a [u8], f64)> {
    let is_plain = set.as_ref().is_some_and(|set| set.kind == Kind::Set);
    let score = move |value: &[u8]| if is_plain { 1.0 } else { score::decode(value) };
    let elements = set.iter().flat_map(FoundCollection::elements).collect::<Vec<_>>();
    elements.into_iter().map(move |element| (element.name, score(element.value)))
}

fn score_in(set: &Option<FoundCollection<'_>>, member: &[u8]) -> Option<f64> {
    let set = set.as_ref()?;
    match set.kind {
        Kind::Set => set.contains(member).then_some(1.0),
        _ => set.score(member),
    }
}

pub(crate) fn zunion(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    give(context, arguments, Algebra::Union)
}

pub(crate) fn zinter(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    give(context, arguments, Algebra::Intersection)
}

pub(crate) fn zdiff(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    give(context, arguments, Algebra::Difference)
}

fn give(context: &mut Context<'_>, arguments: &[Bytes], algebra: Algebra) -> Result {
    let given = Given::parse(context, &arguments[1..], algebra, Use::Give)?;
    Ok(members(&given.result(algebra), given.with_scores))
}

pub(crate) fn zintercard(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let given = Given::parse(context, &arguments[1..], Algebra::Intersection, Use::Count)?;
    Ok(Value::Integer(given.result(Algebra::Intersection).len().min(given.limit) as i64))
}

pub(crate) fn zunionstore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    store_result(context, arguments, Algebra::Union)
}

pub(crate) fn zinterstore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    store_result(context, arguments, Algebra::Intersection)
}

pub(crate) fn zdiffstore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    store_result(context, arguments, Algebra::Difference)
}

fn store_result(context: &mut Context<'_>, arguments: &[Bytes], algebra: Algebra) -> Result {
    let given = Given::parse(context, &arguments[2..], algebra, Use::Store)?;
    let result = given.result(algebra);
    store_members(context, &arguments[1], &result);
    Ok(Value::Integer(result.len() as i64))
}

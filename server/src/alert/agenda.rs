//! Whose turn it is to be evaluated: organizations take turns, and none has more than a few evaluations at once, so
//! that many slow rules of one hold up no other. Pure: all time is given.

use std::collections::{BTreeMap, BTreeSet};

use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;

use super::book::Key;
use super::condition::Condition;

/// Evaluations that ask the store at once.
pub const QUESTIONS_MAX: usize = 4;
/// Those of one organization: until what they change is written.
pub const QUESTIONS_OF_ORGANIZATION_MAX: usize = 2;
/// Looks for errors that ask the store at once, beside those: they do not wait behind long questions.
pub const ERROR_LOOKS_MAX: usize = 2;
/// Those of one organization: until what they change is written.
pub const ERROR_LOOKS_OF_ORGANIZATION_MAX: usize = 1;

/// What kind of question an evaluation is; the kinds do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A question about a window.
    Question,
    /// A look for errors that are new.
    ErrorLook,
}

impl Kind {
    /// The kind of a condition.
    pub fn of(condition: &Condition) -> Self {
        match condition {
            Condition::Errors(_) => Self::ErrorLook,
            Condition::Metric(_) | Condition::Report(_) | Condition::Absence(_) | Condition::Heartbeat(_) => {
                Self::Question
            }
        }
    }
}

/// When rules are due, and which of them are being evaluated.
#[derive(Debug)]
pub struct Agenda {
    questions: Lane,
    error_looks: Lane,
}

/// The rules of one kind.
#[derive(Debug)]
struct Lane {
    /// Most evaluations that ask the store at once.
    at_once_max: usize,
    /// Most evaluations of an organization that are not over.
    of_organization_max: usize,
    queues: BTreeMap<TenantId, Queue>,
    /// The organizations that may begin an evaluation, by when one is due.
    waiting: BTreeSet<(TimestampUs, TenantId)>,
    /// Those for which it was due when somebody looked last, by the number of their last turn.
    ready: BTreeSet<(u64, TenantId)>,
    /// Evaluations that ask the store.
    asking: usize,
    /// Turns that were given so far.
    turns: u64,
}

/// The rules of an organization.
#[derive(Debug, Default)]
struct Queue {
    planned: BTreeSet<(TimestampUs, String)>,
    begun: BTreeMap<String, Begun>,
    /// The number of its last turn.
    turn: u64,
    /// Where it stands among those that wait; none while it has as many evaluations as it may, or nothing planned.
    waits_for: Option<TimestampUs>,
}

/// An evaluation that is not over.
#[derive(Debug)]
struct Begun {
    due: TimestampUs,
    is_asking: bool,
}

impl Default for Agenda {
    fn default() -> Self {
        Self {
            questions: Lane::new(QUESTIONS_MAX, QUESTIONS_OF_ORGANIZATION_MAX),
            error_looks: Lane::new(ERROR_LOOKS_MAX, ERROR_LOOKS_OF_ORGANIZATION_MAX),
        }
    }
}

impl Agenda {
    /// A rule is due at `at`.
    pub fn plan(&mut self, kind: Kind, (organization, rule): Key, at: TimestampUs) {
        self.lane(kind).change(&organization, |queue| queue.planned.insert((at, rule)));
    }

    /// A rule that was due at `at` is not.
    pub fn unplan(&mut self, kind: Kind, (organization, rule): &Key, at: TimestampUs) {
        self.lane(kind).change(organization, |queue| queue.planned.remove(&(at, rule.clone())));
    }

    /// No rule of an organization is due any more.
    pub fn unplan_all(&mut self, organization: &TenantId) {
        for lane in [&mut self.questions, &mut self.error_looks] {
            lane.change(organization, |queue| queue.planned.clear());
        }
    }

    /// The next rule that is evaluated at `now`, with when it was due; it counts as begun until [`Self::end`]. None when
    /// none is due, or none may begin before another one has ended.
    pub fn begin(&mut self, now: TimestampUs) -> Option<(TimestampUs, Key)> {
        self.error_looks.begin(now).or_else(|| self.questions.begin(now))
    }

    /// The store has answered an evaluation: another organization may ask. Its own still waits until this is over.
    pub fn answered(&mut self, kind: Kind, (organization, rule): &Key) {
        let lane = self.lane(kind);
        let begun = lane.queues.get_mut(organization).and_then(|queue| queue.begun.get_mut(rule));
        if begun.is_some_and(|begun| std::mem::take(&mut begun.is_asking)) {
            lane.asking = lane.asking.saturating_sub(1);
        }
    }

    /// An evaluation is over. Whoever plans the next one does so before: an organization without any forgets its turn.
    pub fn end(&mut self, kind: Kind, key: &Key) {
        self.answered(kind, key);
        let (organization, rule) = key;
        self.lane(kind).change(organization, |queue| queue.begun.remove(rule));
    }

    /// When to look again at the latest; none when nothing is to come but by the end of an evaluation.
    pub fn next(&self) -> Option<TimestampUs> {
        [self.questions.next(), self.error_looks.next()].into_iter().flatten().min()
    }

    /// How many evaluations are not over.
    pub fn begun(&self) -> usize {
        let queues = self.questions.queues.values().chain(self.error_looks.queues.values());
        queues.map(|queue| queue.begun.len()).sum()
    }

    /// Since when the most overdue rule is due: one that waits for its turn, or whose evaluation is not over.
    pub fn oldest(&self) -> Option<TimestampUs> {
        let queues = self.questions.queues.values().chain(self.error_looks.queues.values());
        let of = |queue: &Queue| {
            let begun = queue.begun.values().map(|begun| begun.due);
            queue.first().into_iter().chain(begun).min()
        };
        queues.filter_map(of).min()
    }

    fn lane(&mut self, kind: Kind) -> &mut Lane {
        match kind {
            Kind::Question => &mut self.questions,
            Kind::ErrorLook => &mut self.error_looks,
        }
    }
}

impl Queue {
    /// When its first rule is due.
    fn first(&self) -> Option<TimestampUs> {
        self.planned.first().map(|(at, _)| *at)
    }
}

impl Lane {
    fn new(at_once_max: usize, of_organization_max: usize) -> Self {
        Self {
            at_once_max,
            of_organization_max,
            queues: BTreeMap::new(),
            waiting: BTreeSet::new(),
            ready: BTreeSet::new(),
            asking: 0,
            turns: 0,
        }
    }

    /// Changes the rules of an organization, and what it waits for accordingly; forgets it when nothing is left of it.
    fn change<T>(&mut self, organization: &TenantId, change: impl FnOnce(&mut Queue) -> T) {
        let queue = self.queues.entry(organization.clone()).or_default();
        let turn = queue.turn;
        change(queue);
        let has_room = queue.begun.len() < self.of_organization_max;
        let waits_for = queue.first().filter(|_| has_room);
        let before = std::mem::replace(&mut queue.waits_for, waits_for);
        if queue.planned.is_empty() && queue.begun.is_empty() {
            self.queues.remove(organization);
        }
        // Whether it is ready is seen when somebody looks.
        self.ready.remove(&(turn, organization.clone()));
        if let Some(at) = before {
            self.waiting.remove(&(at, organization.clone()));
        }
        if let Some(at) = waits_for {
            self.waiting.insert((at, organization.clone()));
        }
    }

    /// Has all stand in order of their turns for which a rule is due at `now`, and no others.
    fn look(&mut self, now: TimestampUs) {
        while let Some((at, organization)) = self.waiting.pop_first() {
            if at > now {
                self.waiting.insert((at, organization));
                break;
            }
            let turn = self.queues.get(&organization).map_or(0, |queue| queue.turn);
            self.ready.insert((turn, organization));
        }
    }

    fn begin(&mut self, now: TimestampUs) -> Option<(TimestampUs, Key)> {
        if self.asking >= self.at_once_max {
            return None;
        }
        self.look(now);
        // Whose turn is longest ago.
        while let Some((_, organization)) = self.ready.pop_first() {
            let first = self.queues.get_mut(&organization).and_then(|queue| queue.planned.pop_first());
            let Some((due, rule)) = first else { continue };
            if due > now {
                // The clock was set back.
                self.change(&organization, |queue| queue.planned.insert((due, rule)));
                continue;
            }
            self.turns += 1;
            self.asking += 1;
            let turn = self.turns;
            self.change(&organization, |queue| {
                queue.turn = turn;
                queue.begun.insert(rule.clone(), Begun { due, is_asking: true });
            });
            return Some((due, (organization, rule)));
        }
        None
    }

    fn next(&self) -> Option<TimestampUs> {
        if self.asking >= self.at_once_max {
            return None;
        }
        let ready = self.ready.iter().filter_map(|(_, organization)| self.queues.get(organization)?.first());
        self.waiting.first().map(|(at, _)| *at).into_iter().chain(ready).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(organization: &str, rule: &str) -> Key {
        (TenantId::new(organization).unwrap(), rule.to_owned())
    }

    fn at(second: i64) -> TimestampUs {
        TimestampUs(second * 1_000_000)
    }

    /// An agenda with so many rules of organizations, all of them due at once.
    fn agenda(kind: Kind, rules: &[(&str, usize)]) -> Agenda {
        let mut agenda = Agenda::default();
        for (organization, count) in rules {
            for n in 0..*count {
                agenda.plan(kind, key(organization, &format!("r{n:03}")), at(60));
            }
        }
        agenda
    }

    /// Everything that may begin.
    fn begun(agenda: &mut Agenda, now: TimestampUs) -> Vec<Key> {
        std::iter::from_fn(|| agenda.begin(now)).map(|(_, key)| key).collect()
    }

    fn organizations(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(|(organization, _)| organization.as_str()).collect()
    }

    #[test]
    fn an_organization_with_many_slow_rules_holds_up_no_other() {
        let mut agenda = agenda(Kind::Question, &[("acme", 500), ("beta", 1), ("corp", 3)]);
        assert!(begun(&mut agenda, at(59)).is_empty());
        let first = begun(&mut agenda, at(60));
        assert_eq!(organizations(&first), ["acme", "beta", "corp", "acme"]);
        // What ends is followed by the organization whose turn is longest ago, the slow one not among them.
        for key in &first[1..3] {
            agenda.end(Kind::Question, key);
        }
        let second = begun(&mut agenda, at(90));
        assert_eq!(organizations(&second), ["corp", "corp"]);
        for key in &second {
            agenda.end(Kind::Question, key);
        }
        assert!(begun(&mut agenda, at(90)).is_empty(), "two of acme are as many as it may have");
        assert_eq!(agenda.next(), None);
        agenda.plan(Kind::Question, key("beta", "r000"), at(120));
        assert_eq!(agenda.next(), Some(at(120)));
        assert_eq!(begun(&mut agenda, at(120)), [key("beta", "r000")]);
    }

    #[test]
    fn everybody_has_the_same_part_of_what_is_too_little_for_all() {
        let mut agenda = agenda(Kind::Question, &[("acme", 300), ("beta", 30), ("corp", 30)]);
        let mut counts = BTreeMap::<String, usize>::new();
        for _ in 0..60 {
            let (_, key) = agenda.begin(at(60)).unwrap();
            *counts.entry(key.0.to_string()).or_default() += 1;
            agenda.end(Kind::Question, &key);
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [20, 20, 20]);
    }

    #[test]
    fn what_is_answered_makes_room_for_others_and_not_for_its_own() {
        let mut agenda = agenda(Kind::Question, &[("acme", 9), ("beta", 9), ("corp", 9)]);
        let first = begun(&mut agenda, at(60));
        assert_eq!(organizations(&first), ["acme", "beta", "corp", "acme"]);
        // As if what acme changes could not be written.
        for key in [&first[0], &first[3], &first[0]] {
            agenda.answered(Kind::Question, key);
        }
        assert_eq!(organizations(&begun(&mut agenda, at(60))), ["beta", "corp"]);
        agenda.end(Kind::Question, &first[0]);
        agenda.end(Kind::Question, &first[1]);
        assert_eq!(organizations(&begun(&mut agenda, at(60))), ["acme"]);
    }

    #[test]
    fn looks_for_errors_wait_for_no_question() {
        let mut agenda = agenda(Kind::Question, &[("acme", 9), ("beta", 9)]);
        assert_eq!(begun(&mut agenda, at(60)).len(), QUESTIONS_MAX);
        for (organization, rule) in [("acme", "e1"), ("acme", "e2"), ("beta", "e1"), ("corp", "e1")] {
            agenda.plan(Kind::ErrorLook, key(organization, rule), at(61));
        }
        let looks = begun(&mut agenda, at(61));
        assert_eq!(organizations(&looks), ["acme", "beta"]);
        agenda.end(Kind::ErrorLook, &looks[0]);
        assert_eq!(organizations(&begun(&mut agenda, at(61))), ["corp"]);
    }

    #[test]
    fn the_most_overdue_is_one_that_waits_or_one_that_is_not_over() {
        let mut agenda = agenda(Kind::Question, &[("acme", 3)]);
        agenda.plan(Kind::ErrorLook, key("beta", "e1"), at(70));
        assert_eq!(agenda.oldest(), Some(at(60)));
        let begun = begun(&mut agenda, at(60));
        agenda.unplan(Kind::Question, &key("acme", "r002"), at(60));
        assert_eq!(agenda.oldest(), Some(at(60)));
        for key in &begun {
            agenda.end(Kind::Question, key);
        }
        assert_eq!(agenda.oldest(), Some(at(70)));
        agenda.unplan_all(&TenantId::new("beta").unwrap());
        assert_eq!((agenda.oldest(), agenda.next()), (None, None));
    }

    #[test]
    fn an_erased_organization_gives_its_places_back_when_its_evaluations_end() {
        let mut agenda = agenda(Kind::Question, &[("acme", 9), ("beta", 9)]);
        let first = begun(&mut agenda, at(60));
        agenda.unplan_all(&TenantId::new("acme").unwrap());
        assert!(begun(&mut agenda, at(60)).is_empty());
        for key in &first {
            agenda.end(Kind::Question, key);
        }
        assert_eq!(organizations(&begun(&mut agenda, at(60))), ["beta", "beta"]);
    }

    #[test]
    fn a_clock_that_is_set_back_waits() {
        let mut agenda = agenda(Kind::Question, &[("acme", 3), ("beta", 3), ("corp", 3)]);
        let first = begun(&mut agenda, at(60));
        for key in &first {
            agenda.end(Kind::Question, key);
        }
        assert!(begun(&mut agenda, at(59)).is_empty());
        assert_eq!(agenda.next(), Some(at(60)));
        assert_eq!(organizations(&begun(&mut agenda, at(60))), ["beta", "corp", "acme", "beta"]);
    }

    proptest! {
        /// Whatever happens in whatever order: limits hold, nobody is begun twice or before its time, whoever may begin does,
        /// and everything that is planned is begun in the end.
        #[test]
        fn limits_hold_and_nothing_is_forgotten(acts in proptest::collection::vec((0_u8..6, 0_usize..4, 0_usize..3, 0_i64..20), 1..200)) {
            let mut agenda = Agenda::default();
            let mut planned = BTreeMap::<Key, TimestampUs>::new();
            let mut going_on = BTreeMap::<Key, bool>::new();
            let mut now = at(0);
            for (act, organization, rule, second) in acts {
                let key = key(["a", "b", "c", "d"][organization], ["x", "y", "z"][rule]);
                match act {
                    0 if !planned.contains_key(&key) && !going_on.contains_key(&key) => {
                        planned.insert(key.clone(), at(second));
                        agenda.plan(Kind::Question, key, at(second));
                    }
                    1 => {
                        if let Some(at) = planned.remove(&key) {
                            agenda.unplan(Kind::Question, &key, at);
                        }
                    }
                    2 => {
                        if let Some(is_asking) = going_on.get_mut(&key) {
                            *is_asking = false;
                            agenda.answered(Kind::Question, &key);
                        }
                    }
                    3 => {
                        if going_on.remove(&key).is_some() {
                            agenda.end(Kind::Question, &key);
                        }
                    }
                    4 => now = at(second),
                    _ => while let Some((due, key)) = agenda.begin(now) {
                        prop_assert!(due <= now);
                        prop_assert_eq!(planned.remove(&key), Some(due));
                        prop_assert_eq!(going_on.insert(key, true), None);
                    },
                }
                let of = |name: &TenantId| going_on.keys().filter(|(of, _)| of == name).count();
                let asking = going_on.values().filter(|is_asking| **is_asking).count();
                prop_assert!(asking <= QUESTIONS_MAX);
                prop_assert!(going_on.keys().all(|(name, _)| of(name) <= QUESTIONS_OF_ORGANIZATION_MAX));
                prop_assert_eq!(agenda.begun(), going_on.len());
                // When to look again is when the first of those is due that may begin.
                let may = planned.iter().filter(|((name, _), _)| of(name) < QUESTIONS_OF_ORGANIZATION_MAX);
                let next = may.map(|(_, at)| *at).min().filter(|_| asking < QUESTIONS_MAX);
                prop_assert_eq!(agenda.next().map(|next| next.max(now)), next.map(|next| next.max(now)));
            }
            for _ in 0..20 {
                for key in std::mem::take(&mut going_on).into_keys() {
                    agenda.end(Kind::Question, &key);
                }
                while let Some((_, key)) = agenda.begin(at(20)) {
                    planned.remove(&key);
                    going_on.insert(key, true);
                }
            }
            prop_assert!(planned.is_empty(), "{:?}", planned);
        }
    }
}

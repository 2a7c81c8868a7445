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
#[derive(Debug, Default)]
pub struct Agenda {
    questions: Lane,
    error_looks: Lane,
}

/// The rules of one kind.
#[derive(Debug, Default)]
struct Lane {
    queues: BTreeMap<TenantId, Queue>,
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
}

/// An evaluation that is not over.
#[derive(Debug)]
struct Begun {
    due: TimestampUs,
    is_asking: bool,
}

/// How many evaluations may go on at once.
#[derive(Debug, Clone, Copy)]
struct AtOnce {
    all: usize,
    of_organization: usize,
}

const QUESTIONS: AtOnce = AtOnce { all: QUESTIONS_MAX, of_organization: QUESTIONS_OF_ORGANIZATION_MAX };
const ERROR_LOOKS: AtOnce = AtOnce { all: ERROR_LOOKS_MAX, of_organization: ERROR_LOOKS_OF_ORGANIZATION_MAX };

impl Agenda {
    /// A rule is due at `at`.
    pub fn plan(&mut self, kind: Kind, (organization, rule): Key, at: TimestampUs) {
        self.lane(kind).queues.entry(organization).or_default().planned.insert((at, rule));
    }

    /// A rule that was due at `at` is not.
    pub fn unplan(&mut self, kind: Kind, (organization, rule): &Key, at: TimestampUs) {
        let lane = self.lane(kind);
        if let Some(queue) = lane.queues.get_mut(organization) {
            queue.planned.remove(&(at, rule.clone()));
        }
        lane.tidy(organization);
    }

    /// No rule of an organization is due any more.
    pub fn unplan_all(&mut self, organization: &TenantId) {
        for lane in [&mut self.questions, &mut self.error_looks] {
            if let Some(queue) = lane.queues.get_mut(organization) {
                queue.planned.clear();
            }
            lane.tidy(organization);
        }
    }

    /// The next rule that is evaluated at `now`, with when it was due; it counts as begun until [`Self::end`]. None when
    /// none is due, or none may begin before another one has ended.
    pub fn begin(&mut self, now: TimestampUs) -> Option<(TimestampUs, Key)> {
        self.error_looks.begin(ERROR_LOOKS, now).or_else(|| self.questions.begin(QUESTIONS, now))
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
        let lane = self.lane(kind);
        if let Some(queue) = lane.queues.get_mut(organization) {
            queue.begun.remove(rule);
        }
        lane.tidy(organization);
    }

    /// When to look again at the latest; none when nothing is to come but by the end of an evaluation.
    pub fn next(&self) -> Option<TimestampUs> {
        let next = [self.questions.next(QUESTIONS), self.error_looks.next(ERROR_LOOKS)];
        next.into_iter().flatten().min()
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
            queue.planned.first().map(|(at, _)| *at).into_iter().chain(begun).min()
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

impl Lane {
    /// The organizations that may begin an evaluation, with their rules.
    fn free(&self, at_once: AtOnce) -> impl Iterator<Item = (&TenantId, &Queue)> {
        let has_room = self.asking < at_once.all;
        self.queues.iter().filter(move |(_, queue)| has_room && queue.begun.len() < at_once.of_organization)
    }

    fn begin(&mut self, at_once: AtOnce, now: TimestampUs) -> Option<(TimestampUs, Key)> {
        let due = self.free(at_once).filter_map(|(organization, queue)| {
            let (at, _) = queue.planned.first().filter(|(at, _)| *at <= now)?;
            Some((queue.turn, *at, organization))
        });
        // Whose turn is longest ago.
        let (_, _, organization) = due.min()?;
        let organization = organization.clone();
        let queue = self.queues.get_mut(&organization)?;
        let (due, rule) = queue.planned.pop_first()?;
        self.turns += 1;
        self.asking += 1;
        queue.turn = self.turns;
        queue.begun.insert(rule.clone(), Begun { due, is_asking: true });
        Some((due, (organization, rule)))
    }

    fn next(&self, at_once: AtOnce) -> Option<TimestampUs> {
        self.free(at_once).filter_map(|(_, queue)| queue.planned.first().map(|(at, _)| *at)).min()
    }

    /// Forgets an organization of which nothing is left.
    fn tidy(&mut self, organization: &TenantId) {
        if self.queues.get(organization).is_some_and(|q| q.planned.is_empty() && q.begun.is_empty()) {
            self.queues.remove(organization);
        }
    }
}

#[cfg(test)]
mod tests {
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
}

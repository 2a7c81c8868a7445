//! One budget of memory for two questions that are answered at once.

use std::sync::atomic::{AtomicBool, Ordering};

use insights_engine::{Error, Result};
use parking_lot::RwLock;

/// The budget of memory of one moment's questions.
///
/// Two threads have half of it each. A question that its half is too small for waits until the other thread
/// is between two questions, and is asked again with all of it. So no more than one budget is used at any
/// time, and a question is answered or refused exactly as if it had been asked alone.
#[derive(Debug, Default)]
pub(crate) struct SharedMemory {
    /// Whether two threads ask.
    at_once: AtomicBool,
    /// Read by a question within half of the budget, written by one that has all of it.
    turn: RwLock<()>,
}

impl SharedMemory {
    /// Does two things at once on two threads. The error is that of the first where both have one.
    pub(crate) fn both<A, B: Send, E: Send>(
        &self,
        one: impl FnOnce() -> std::result::Result<A, E>,
        other: impl FnOnce() -> std::result::Result<B, E> + Send,
    ) -> std::result::Result<(A, B), E> {
        self.at_once.store(true, Ordering::SeqCst);
        let (one, other) = std::thread::scope(|threads| {
            let other = threads.spawn(other);
            let one = one();
            (one, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        self.at_once.store(false, Ordering::SeqCst);
        Ok((one?, other?))
    }

    /// Asks a question within a budget of `bytes_max`; `ask` is given its share, and called a second time
    /// when the first one was not enough.
    ///
    /// # Errors
    ///
    /// Those of `ask`; [`Error::QueryLimit`] names the whole budget.
    pub(crate) fn ask<T>(&self, bytes_max: u64, mut ask: impl FnMut(u64) -> Result<T>) -> Result<T> {
        if !self.at_once.load(Ordering::SeqCst) {
            return ask(bytes_max);
        }
        let share = bytes_max / 2;
        let turn = self.turn.read();
        let answer = ask(share);
        drop(turn);
        match answer {
            Err(Error::QueryLimit { limit, .. }) if limit == share => {
                let _alone = self.turn.write();
                ask(bytes_max)
            }
            answer => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU64;

    use super::*;

    const BYTES_MAX: u64 = 1_000;

    /// A question that needs so many bytes; what is in use is counted.
    fn question(memory: &SharedMemory, used: &AtomicU64, most: &AtomicU64, needs: u64) -> Result<u64> {
        memory.ask(BYTES_MAX, |bytes_max| {
            let takes = needs.min(bytes_max);
            most.fetch_max(used.fetch_add(takes, Ordering::SeqCst) + takes, Ordering::SeqCst);
            std::thread::yield_now();
            used.fetch_sub(takes, Ordering::SeqCst);
            let refused = Error::QueryLimit { what: "bytes of memory", limit: bytes_max };
            if needs > bytes_max { Err(refused) } else { Ok(needs) }
        })
    }

    #[test]
    fn two_threads_never_use_more_than_one_budget_and_answer_as_one_would() {
        let needs = [100, 500, 501, 1_000, 1_001, 3, 999, 5_000];
        let (memory, used, most) = (SharedMemory::default(), AtomicU64::new(0), AtomicU64::new(0));
        let ask = |needs| question(&memory, &used, &most, needs).map_err(|e| e.to_string());
        let alone = needs.map(ask);
        for shift in 0..needs.len() {
            let together = Barrier::new(2);
            let all = |from: usize| {
                together.wait();
                let mut answers = alone.clone();
                for at in (0..needs.len()).map(|at| (at + from) % needs.len()) {
                    answers[at] = ask(needs[at]);
                }
                Ok::<_, ()>(answers)
            };
            let (one, other) = memory.both(|| all(0), || all(shift)).unwrap();
            assert_eq!((&one, &other), (&alone, &alone));
        }
        assert!(most.into_inner() <= BYTES_MAX);
    }

    #[test]
    fn the_error_of_the_first_one_is_told() {
        let memory = SharedMemory::default();
        let refused = memory.both(|| Err::<(), _>("one"), || Err::<(), _>("other"));
        assert_eq!(refused, Err("one"));
        assert_eq!(memory.both(|| Ok::<_, &str>(1), || Err::<(), _>("other")), Err("other"));
        assert_eq!(memory.both(|| Ok::<_, ()>(1), || Ok("2")), Ok((1, "2")));
    }
}

//! What is kept of what was read, bounded in bytes: first in, first out, with a second chance for what was asked for
//! again (the clock algorithm; Corbato, "A paging experiment with the Multics system", 1968).

use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;

/// Values by key. A hit sets a flag; no list is reordered.
#[derive(Debug)]
pub(crate) struct SecondChance<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// The keys, the next to go in front; each once.
    queue: VecDeque<K>,
    bytes: usize,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    bytes: usize,
    /// Whether it was asked for since it came, or since it had its second chance.
    asked: bool,
}

impl<K, V> Default for SecondChance<K, V> {
    fn default() -> Self {
        Self { slots: HashMap::new(), queue: VecDeque::new(), bytes: 0 }
    }
}

impl<K: Copy + Eq + Hash, V> SecondChance<K, V> {
    /// The value of a key.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        let slot = self.slots.get_mut(key)?;
        slot.asked = true;
        Some(&slot.value)
    }

    /// Keeps a value of so many bytes, unless there is one of its key. Others go until all are within `bytes_max`,
    /// or it is alone.
    pub(crate) fn insert(&mut self, key: K, value: V, bytes: usize, bytes_max: usize) {
        if self.slots.contains_key(&key) {
            return;
        }
        // Each turn takes a flag or a value away.
        while self.bytes.saturating_add(bytes) > bytes_max && self.turn() {}
        self.bytes += bytes;
        self.slots.insert(key, Slot { value, bytes, asked: false });
        self.queue.push_back(key);
    }

    /// Lets the first go, or gives it its second chance; false when there is none.
    fn turn(&mut self) -> bool {
        let Some(key) = self.queue.pop_front() else { return false };
        match self.slots.get_mut(&key) {
            Some(slot) if slot.asked => {
                slot.asked = false;
                self.queue.push_back(key);
            }
            _ => self.bytes -= self.slots.remove(&key).map_or(0, |slot| slot.bytes),
        }
        true
    }

    /// Bytes of all values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is a value of a key, without asking for it.
    #[cfg(test)]
    pub(crate) fn has(&self, key: &K) -> bool {
        self.slots.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Asks for a value, which is read when it is not there.
    fn is_hit(cache: &mut SecondChance<u32, ()>, key: u32) -> bool {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, (), 10, 1_000);
        }
        hit
    }

    #[test]
    fn what_fits_stays_also_in_a_cache_that_was_full_of_something_else() {
        let mut cache = SecondChance::default();
        for key in (0..300).map(|turn| turn % 100) {
            is_hit(&mut cache, key);
        }
        let hits: Vec<_> =
            (0..4).map(|_| (1_000..1_030).filter(|key| is_hit(&mut cache, *key)).count()).collect();
        assert_eq!(hits, [0, 30, 30, 30]);
    }

    #[test]
    fn what_is_asked_for_again_and_again_outlives_what_is_read_once() {
        let mut cache = SecondChance::default();
        is_hit(&mut cache, 0);
        assert!((1..10_000).all(|key| is_hit(&mut cache, 0) && !is_hit(&mut cache, key)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_limit_holds_and_what_came_last_is_there(
            asked in prop::collection::vec((0_u32..40, 0_usize..700), 0..300),
        ) {
            let mut cache = SecondChance::default();
            for (key, bytes) in asked {
                let expected = cache.get(&key).copied().unwrap_or(bytes);
                cache.insert(key, bytes, bytes, 500);
                prop_assert!(cache.bytes() <= 500 || cache.queue.len() == 1);
                prop_assert_eq!(cache.slots.len(), cache.queue.len());
                prop_assert_eq!(cache.slots.values().map(|slot| slot.bytes).sum::<usize>(), cache.bytes());
                prop_assert_eq!(cache.get(&key), Some(&expected));
            }
        }
    }
}

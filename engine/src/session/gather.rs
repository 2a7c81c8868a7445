//! Chains out of events and of parts of chains that come in any order, in memory of the chains alone.
//!
//! Most events come in the order of their times, so that each one either lengthens the chain that its
//! key has open or starts the next one: one look into a table by the key's number. What comes in
//! another order makes pieces that [`Gather::join`] puts together.

use hashbrown::HashMap;

use super::chain::{Chain, GAP_US, NO_USER};
use crate::id::TenantNo;
use crate::time::{TimeRange, TimestampUs};

/// Most keys of one question: their numbers are below.
pub(crate) const KEYS_MAX: usize = u32::MAX as usize - 1;

/// What an event is to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Class {
    /// It shows a page.
    pub(crate) page: bool,
    /// It is an action.
    pub(crate) action: bool,
    /// The user did it.
    pub(crate) interactive: bool,
}

/// A chain, or a part of one, and what of it lies inside the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The chain.
    pub(crate) chain: Chain,
    /// Its first event inside the window; after `inside_last` when there is none.
    pub(crate) inside_first: TimestampUs,
    /// Its last event inside the window.
    pub(crate) inside_last: TimestampUs,
}

impl Piece {
    /// Of no event: what a key has before its first one.
    const NONE: Self = Self {
        chain: Chain {
            key: 0,
            first: TimestampUs(0),
            last: TimestampUs(0),
            events: 0,
            pages: 0,
            actions: 0,
            interactive: 0,
            user: NO_USER,
        },
        inside_first: TimestampUs(i64::MAX),
        inside_last: TimestampUs(i64::MIN),
    };

    /// A chain of which all that lies in `window` counts as inside.
    pub(crate) fn of(chain: Chain, window: TimeRange) -> Self {
        let last_inside = TimestampUs(window.end.0.saturating_sub(1));
        let (first, last) = (chain.first.max(window.start), chain.last.min(last_inside));
        if first > last {
            return Self { chain, ..Self::NONE };
        }
        Self { chain, inside_first: first, inside_last: last }
    }

    /// Whether `other` is of the same session, wherever it lies.
    #[inline]
    fn touches(&self, other: &Self) -> bool {
        other.chain.first.0.saturating_sub(self.chain.last.0) < GAP_US
            && self.chain.first.0.saturating_sub(other.chain.last.0) < GAP_US
    }

    /// Whether it is of another session than all that ends at an instant, and later.
    #[inline]
    fn is_after(&self, last: TimestampUs) -> bool {
        self.chain.first.0.saturating_sub(last.0) >= GAP_US
    }

    #[inline]
    fn absorb(&mut self, other: &Self) {
        self.chain.absorb(&other.chain);
        self.inside_first = self.inside_first.min(other.inside_first);
        self.inside_last = self.inside_last.max(other.inside_last);
    }
}

/// The chains of everything that was added.
#[derive(Debug)]
pub(crate) struct Gather {
    window: TimeRange,
    numbers: HashMap<(TenantNo, u128), u32>,
    /// By number of the key: the piece that was touched last.
    open: Vec<Piece>,
    /// The other pieces.
    closed: Vec<Piece>,
    /// By number of the key: the end of the last of its other pieces; shorter than `open` where the rest has none.
    closed_last: Vec<TimestampUs>,
    joined: bool,
    /// What has changed since somebody began to watch.
    watch: Option<Watch>,
}

/// The pieces that have changed since a moment.
#[derive(Debug, Default)]
struct Watch {
    /// Whether a key was touched, one bit each.
    is_touched: Vec<u64>,
    /// The keys that were.
    touched: Vec<u32>,
    /// Their open pieces as they were.
    before: Vec<Piece>,
    /// How many other pieces there were.
    closed: usize,
}

impl Watch {
    /// Remembers the open piece of a key, at its first change.
    #[inline]
    fn touch(&mut self, number: usize, open: &Piece) {
        if self.is_touched.len() <= number / 64 {
            self.is_touched.resize(number / 64 + 1, 0);
        }
        let Some(word) = self.is_touched.get_mut(number / 64) else { return };
        let bit = 1 << (number % 64);
        if *word & bit == 0 {
            *word |= bit;
            self.touched.extend(u32::try_from(number));
            if open.chain.events > 0 {
                self.before.push(*open);
            }
        }
    }

    fn start_over(&mut self, closed: usize) {
        for number in self.touched.drain(..) {
            if let Some(word) = self.is_touched.get_mut(number as usize / 64) {
                *word = 0;
            }
        }
        self.before.clear();
        self.closed = closed;
    }
}

/// The pieces that have changed, as they were and as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changes<'g> {
    /// As they were.
    pub(crate) before: &'g [Piece],
    gather: &'g Gather,
    watch: &'g Watch,
}

impl Changes<'_> {
    /// As they are.
    pub(crate) fn now(&self) -> impl Iterator<Item = &Piece> {
        let open = self.watch.touched.iter().filter_map(|number| self.gather.open.get(*number as usize));
        open.chain(self.gather.closed.get(self.watch.closed..).unwrap_or(&[]))
    }
}

impl Gather {
    /// Nothing yet; `window` is what [`Piece::inside_first`] goes by.
    pub(crate) fn new(window: TimeRange) -> Self {
        Self {
            window,
            numbers: HashMap::new(),
            open: Vec::new(),
            closed: Vec::new(),
            closed_last: Vec::new(),
            joined: true,
            watch: None,
        }
    }

    /// What counts as inside.
    pub(crate) fn window(&self) -> TimeRange {
        self.window
    }

    /// The number of a session's key, dense from 0.
    #[inline]
    pub(crate) fn number(&mut self, tenant: TenantNo, key: u128) -> u32 {
        let next = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        *self.numbers.entry((tenant, key)).or_insert_with(|| {
            self.open.push(Piece::NONE);
            next
        })
    }

    /// Adds an event of a key that has a number.
    #[inline]
    pub(crate) fn event(&mut self, number: u32, at: TimestampUs, user: u32, class: Class) {
        let chain = Chain {
            key: u64::from(number),
            first: at,
            last: at,
            events: 1,
            pages: u32::from(class.page),
            actions: u32::from(class.action),
            interactive: u32::from(class.interactive),
            user,
        };
        let inside = self.window.contains(at);
        let (inside_first, inside_last) =
            if inside { (at, at) } else { (Piece::NONE.inside_first, Piece::NONE.inside_last) };
        self.piece(Piece { chain, inside_first, inside_last });
    }

    /// Adds a part of a chain, whose key is a number.
    #[inline]
    pub(crate) fn piece(&mut self, piece: Piece) {
        let number = usize::try_from(piece.chain.key).unwrap_or(usize::MAX);
        let Some(open) = self.open.get_mut(number) else {
            debug_assert!(false, "a key without a number");
            return;
        };
        if let Some(watch) = &mut self.watch {
            watch.touch(number, open);
        }
        if open.chain.events == 0 {
            *open = piece;
        } else if open.touches(&piece) {
            open.absorb(&piece);
            // It may have come near to what was closed before.
            self.joined &= self.closed_last.get(number).is_none_or(|last| open.is_after(*last));
        } else {
            let closed = std::mem::replace(open, piece);
            if self.closed_last.len() <= number {
                self.closed_last.resize(number + 1, TimestampUs(i64::MIN));
            }
            if let Some(last) = self.closed_last.get_mut(number) {
                *last = closed.chain.last.max(*last);
                self.joined &= open.is_after(*last);
            }
            self.closed.push(closed);
        }
    }

    /// Remembers from now on what changes.
    pub(crate) fn watch(&mut self) {
        let closed = self.closed.len();
        self.watch.get_or_insert_default().start_over(closed);
    }

    /// What has changed since [`Self::watch`]; `None` when that was not remembered.
    pub(crate) fn changes(&self) -> Option<Changes<'_>> {
        let watch = self.watch.as_ref()?;
        Some(Changes { before: &watch.before, gather: self, watch })
    }

    /// Puts together what belongs together: from now on every chain is whole, as far as events came.
    pub(crate) fn join(&mut self) {
        if std::mem::replace(&mut self.joined, true) {
            return;
        }
        // Other pieces change than those that were touched.
        self.watch = None;
        self.closed_last.clear();
        // A key's chain that was touched last takes part, and is left out of the closed ones again.
        let mut keys: Vec<u64> = Vec::new();
        self.closed.sort_unstable_by_key(|p| (p.chain.key, p.chain.first));
        keys.extend(self.closed.iter().map(|p| p.chain.key));
        keys.dedup();
        let closed = std::mem::take(&mut self.closed);
        let mut rest = closed.as_slice();
        let mut own: Vec<Piece> = Vec::new();
        for key in keys {
            let (mine, others) = rest.split_at(rest.partition_point(|p| p.chain.key <= key));
            rest = others;
            let Some(open) = usize::try_from(key).ok().and_then(|key| self.open.get_mut(key)) else {
                continue;
            };
            own.clear();
            own.extend_from_slice(mine);
            let place = own.partition_point(|p| p.chain.first <= open.chain.first);
            own.insert(place, *open);
            let mut whole: Option<Piece> = None;
            for piece in &own {
                match &mut whole {
                    Some(before) if before.chain.reaches(&piece.chain) => before.absorb(piece),
                    _ => self.closed.extend(whole.replace(*piece)),
                }
            }
            *open = whole.unwrap_or(Piece::NONE);
        }
        for piece in &self.closed {
            let number = usize::try_from(piece.chain.key).unwrap_or(usize::MAX);
            if self.closed_last.len() <= number && number < self.open.len() {
                self.closed_last.resize(number + 1, TimestampUs(i64::MIN));
            }
            if let Some(last) = self.closed_last.get_mut(number) {
                *last = piece.chain.last.max(*last);
            }
        }
    }

    /// Every chain there is, in no order; they are whole after [`Self::join`].
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.closed.iter().chain(self.open.iter().filter(|piece| piece.chain.events > 0))
    }

    /// By number the key of every session.
    pub(crate) fn keys(&self) -> Vec<(TenantNo, u128)> {
        let mut out = vec![(TenantNo(0), 0); self.open.len()];
        for (key, number) in &self.numbers {
            if let Some(slot) = out.get_mut(*number as usize) {
                *slot = *key;
            }
        }
        out
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        // An entry of the table takes its key, its number and a byte, and a half of the places are empty.
        let pieces = self.open.capacity() + self.closed.capacity();
        let watched = self.watch.as_ref().map_or(0, |watch| watch.before.capacity());
        (pieces + watched) * size_of::<Piece>()
            + self.closed_last.capacity() * size_of::<TimestampUs>()
            + self.numbers.capacity() * 48
    }
}

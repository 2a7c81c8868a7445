//! How many series are kept in memory over all rules, and how many of one organization: never more than are left for
//! others, so that none takes the room of all. Pure.

use crate::notify::Lang;

/// Most series that are kept of all rules together.
pub const SERIES_OF_ALL_MAX: usize = 100_000;
/// Most bytes of labels of all rules together: with what surrounds them in memory perhaps four times as much.
pub const LABEL_BYTES_OF_ALL_MAX: usize = 16 << 20;
/// The part of each limit that series which are well leave to alerts: one of so many.
const LEFT_TO_ALERTS: usize = 5;

/// What series take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Their number.
    pub series: usize,
    /// Bytes of their labels.
    pub label_bytes: usize,
}

impl Taken {
    const OF_ALL: Self = Self { series: SERIES_OF_ALL_MAX, label_bytes: LABEL_BYTES_OF_ALL_MAX };

    /// This and another one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.each(other, usize::saturating_add)
    }

    /// This without another one.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        self.each(other, usize::saturating_sub)
    }

    /// The greater of each number.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.each(other, usize::max)
    }

    /// Whether it is no more than another one.
    pub fn fits(self, room: Self) -> bool {
        self.series <= room.series && self.label_bytes <= room.label_bytes
    }

    /// The part of a limit that series may take which are well.
    fn for_well(self) -> Self {
        self.each(self, |limit, _| limit - limit / LEFT_TO_ALERTS)
    }

    fn each(self, other: Self, of: impl Fn(usize, usize) -> usize) -> Self {
        Self { series: of(self.series, other.series), label_bytes: of(self.label_bytes, other.label_bytes) }
    }
}

/// How much the series of one rule may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// When another one is to be kept that is an alert.
    pub for_alerts: Taken,
    /// When another one is to be kept that is well.
    pub for_well: Taken,
}

impl Room {
    /// Room for everything: what is not kept takes none.
    pub const UNLIMITED: Self = {
        let all = Taken { series: usize::MAX, label_bytes: usize::MAX };
        Self { for_alerts: all, for_well: all }
    };

    /// The room of a rule beside what other rules of its organization, and those of all, take: with it the organization
    /// has as much as is left for others. Alone it has half of all; who comes late finds room for a little.
    pub fn beside(of_organization: Taken, of_all: Taken) -> Self {
        let left = |limit: Taken| {
            let left = limit.without(of_all).without(of_organization);
            left.each(left, |left, _| left / 2)
        };
        Self { for_alerts: left(Taken::OF_ALL), for_well: left(Taken::OF_ALL.for_well()) }
    }
}

/// Series of a rule for which there was no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CrowdedOut {
    /// Those that were well: nothing is missed before one of them is not, and then alerts have their own room.
    pub well: u64,
    /// Those that would have been alerts.
    pub bad: u64,
}

impl CrowdedOut {
    /// All of them.
    pub fn series(self) -> u64 {
        self.well.saturating_add(self.bad)
    }

    /// What a rule says of itself then, and what to do; nothing when there was room for all.
    pub fn finding(self, lang: Lang) -> Option<String> {
        let (series, bad) = (self.series(), self.bad);
        let said = match (lang, bad) {
            _ if series == 0 => return None,
            (Lang::En, 0) => format!("there is no room to keep {series} series, all of them well."),
            (Lang::En, _) => {
                format!(
                    "there is no room to keep {series} series, and nobody is told of {bad} of them that are bad."
                )
            }
            (Lang::Fr, 0) => {
                format!("la place manque pour garder {series} s\u{e9}ries, qui vont toutes bien.")
            }
            (Lang::Fr, _) => format!(
                "la place manque pour garder {series} s\u{e9}ries, et personne n'est inform\u{e9} de {bad} d'entre elles \
                 qui vont mal."
            ),
        };
        let advice = match lang {
            Lang::En => format!(
                "All rules of the server keep {SERIES_OF_ALL_MAX} series, those of an organization no more than are left \
                 for others: group by fewer labels"
            ),
            Lang::Fr => format!(
                "Toutes les r\u{e8}gles du serveur gardent {SERIES_OF_ALL_MAX} s\u{e9}ries, celles d'une organisation pas \
                 plus qu'il n'en reste aux autres : regroupez par moins d'\u{e9}tiquettes"
            ),
        };
        Some(format!("{said} {advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(series: usize) -> Taken {
        Taken { series, label_bytes: series * 10 }
    }

    #[test]
    fn what_is_well_leaves_room_for_alerts_and_everybody_for_others() {
        let room = |of_organization: usize, of_all: usize| {
            let room = Room::beside(taken(of_organization), taken(of_all));
            (room.for_alerts.series, room.for_well.series)
        };
        assert_eq!(room(0, 0), (50_000, 40_000));
        assert_eq!(room(39_000, 39_000), (11_000, 1_000));
        assert_eq!(room(50_000, 50_000), (0, 0));
        assert_eq!(room(0, 50_000), (25_000, 15_000), "beside one that has as much as it may");
        assert_eq!(room(10, 79_990), (10_000, 0));
        assert_eq!(room(0, 99_998), (1, 0));
        assert_eq!(room(1_000_000, 1_000_000), (0, 0));
    }

    #[test]
    fn long_labels_take_room_too() {
        let long = Taken { series: 10, label_bytes: LABEL_BYTES_OF_ALL_MAX / 2 - 100 };
        let room = Room::beside(long, long);
        assert_eq!((room.for_alerts.label_bytes, room.for_well.label_bytes), (100, 0));
        assert!(!Taken { series: 1, label_bytes: 101 }.fits(room.for_alerts));
        assert!(Taken { series: 1, label_bytes: 100 }.fits(room.for_alerts));
    }

    #[test]
    fn a_rule_says_what_it_leaves_out() {
        let crowded = |well, bad| CrowdedOut { well, bad };
        assert_eq!(crowded(0, 0).finding(Lang::En), None);
        let said = crowded(7, 0).finding(Lang::En).unwrap();
        assert!(said.starts_with("there is no room to keep 7 series, all of them well. All rules"), "{said}");
        let said = crowded(7, 2).finding(Lang::Fr).unwrap();
        assert!(said.contains("garder 9 s\u{e9}ries") && said.contains("de 2 d'entre elles"), "{said}");
    }
}

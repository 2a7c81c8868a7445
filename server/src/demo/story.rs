//! What goes wrong on the platform: a bad deploy with its outage, an attack on logins, a maintenance window.

use insights_engine::time::{DAY_US, TimeRange, TimestampUs};

use super::rhythm::{HOUR_US, MINUTE_US, is_weekend};

/// The scripted moments. A moment that lies before the start of the plan does not happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Story {
    /// A version of the first organization's first app that breaks it.
    pub(crate) deploy: Deploy,
    /// Someone tries passwords on the second organization.
    pub(crate) attack: Attack,
    /// The third organization's first app is taken down on purpose.
    pub(crate) maintenance: TimeRange,
}

/// A deploy that goes wrong, in the order things happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deploy {
    /// The new version is live.
    pub(crate) at: TimestampUs,
    /// Answers are slow and many fail.
    pub(crate) degraded: TimeRange,
    /// No probe is answered.
    pub(crate) down: TimeRange,
    /// The old version is back.
    pub(crate) rolled_back: TimestampUs,
}

/// An attack on logins, in the order things happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    /// Passwords are tried on many users.
    pub(crate) tries: TimeRange,
    /// One of them fits.
    pub(crate) entered: TimestampUs,
    /// Second factor off, password changed, data taken.
    pub(crate) abuse: TimeRange,
    /// The address is blocked.
    pub(crate) blocked: TimestampUs,
}

/// Whose app the deploy breaks, by its place in the plan.
pub(crate) const DEPLOY_ORGANIZATION: usize = 0;
/// Whose logins are attacked.
pub(crate) const ATTACK_ORGANIZATION: usize = 1;
/// Whose app is maintained.
pub(crate) const MAINTENANCE_ORGANIZATION: usize = 2;
/// The app that is broken, and the one that is maintained, in its organization.
pub(crate) const STORY_APP: usize = 0;
/// Where the attack comes from.
pub(crate) const ATTACK_IP: &str = "198.51.100.250";
/// What it says it is.
pub(crate) const ATTACK_USER_AGENT: &str = "python-requests/2.32.3";

impl Story {
    /// The moments of the days before `end`.
    pub(crate) fn before(end: TimestampUs) -> Self {
        let minute = |day: i64, hour: i64, minute: i64| {
            TimestampUs(day * DAY_US + hour * HOUR_US + minute * MINUTE_US)
        };
        let range = |start, end| TimeRange { start, end };
        let today = i64::from(end.day());
        // People deploy on working days, so a weekend moves the story back to the Friday.
        let mut day = today - 6;
        while is_weekend(minute(day, 12, 0)) {
            day -= 1;
        }
        let (attack, night) = (today - 3, today - 4);
        Self {
            deploy: Deploy {
                at: minute(day, 13, 2),
                degraded: range(minute(day, 13, 4), minute(day, 13, 58)),
                down: range(minute(day, 13, 12), minute(day, 13, 47)),
                rolled_back: minute(day, 13, 55),
            },
            attack: Attack {
                tries: range(minute(attack, 2, 37), minute(attack, 2, 56)),
                entered: minute(attack, 2, 57),
                abuse: range(minute(attack, 2, 58), minute(attack, 3, 6)),
                blocked: minute(attack, 3, 21),
            },
            maintenance: range(minute(night, 7, 0), minute(night, 7, 40)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_and_before_the_end() {
        for day in 20_000..20_007 {
            let end = TimestampUs(day * DAY_US + 5 * HOUR_US);
            let Story { deploy, attack, maintenance } = Story::before(end);
            let order = [
                deploy.at,
                deploy.degraded.start,
                deploy.down.start,
                deploy.down.end,
                deploy.rolled_back,
                deploy.degraded.end,
                maintenance.start,
                maintenance.end,
                attack.tries.start,
                attack.entered,
                attack.abuse.start,
                attack.blocked,
                end,
            ];
            assert!(order.is_sorted(), "{order:?}");
            assert!(!is_weekend(deploy.at));
            assert!(end.0 - deploy.at.0 < 10 * DAY_US);
        }
    }
}

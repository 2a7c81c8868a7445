//! Probes of applications: whether each was up, and a tenant's day of them as bytes.
//!
//! The samples themselves are kept, not sums of them: a state holds until the next probe, and failures
//! count in rows, so that only all probes around a window give its uptime.
//!
//! The bytes are described in `docs/format/sessions.md`.

use crate::codec::{Cursor, Decoded, Malformed, put_varint, unzigzag, zigzag};
use crate::schema::NULL_CODE;
use crate::time::{DAY_US, TimestampUs};

/// The version that [`encode_day`] writes.
const VERSION: u8 = 1;

/// The outcome of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    /// When.
    pub at: TimestampUs,
    /// Whether the application answered.
    pub up: bool,
    /// Whether it was in maintenance.
    pub maintenance: bool,
}

/// The probes of one application, by the code of its name or [`NULL_CODE`], by time.
pub(crate) type AppProbes = (u32, Vec<Probe>);

/// The bytes of a tenant's day; applications ascend by code, [`NULL_CODE`] first, and have probes, which
/// ascend by time.
pub(crate) fn encode_day(day: i32, apps: &[AppProbes]) -> Vec<u8> {
    debug_assert!(apps.is_sorted_by_key(|(app, _)| app.wrapping_add(1)));
    let mut out = vec![VERSION];
    out.extend_from_slice(&day.to_le_bytes());
    put_varint(apps.len() as u64, &mut out);
    for (app, probes) in apps {
        put_varint(u64::from(app.wrapping_add(1)), &mut out);
        put_varint(probes.len() as u64, &mut out);
        let (mut before, mut gap) = (start_of(day), 0);
        for (index, probe) in probes.iter().enumerate() {
            let this = probe.at.0 - before;
            let written = if index < 2 { this.cast_unsigned() } else { zigzag(this - gap) };
            put_varint(written, &mut out);
            (before, gap) = (probe.at.0, this);
        }
        for run in probes.chunk_by(|a, b| state(a) == state(b)) {
            out.extend(run.first().map(state));
            put_varint(run.len() as u64, &mut out);
        }
    }
    out
}

/// The bytes of a mark: whether a tenant has probes on a day.
pub(crate) fn encode_mark(day: i32, has_probes: bool) -> Vec<u8> {
    let mark = [(NULL_CODE, Vec::new())];
    encode_day(day, if has_probes { &mark } else { &[] })
}

/// Reads the bytes of a mark.
///
/// # Errors
///
/// When they are not what the layout says, those of a tenant's day among them.
pub(crate) fn decode_mark(bytes: &[u8]) -> Decoded<(i32, bool)> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u8()? != VERSION {
        return Err(Malformed("probes of an unknown version"));
    }
    let day = i32::from_le_bytes(cursor.array()?);
    match cursor.rest() {
        [0] => Ok((day, false)),
        // One application, of no name, of no probes.
        [1, 0, 0] => Ok((day, true)),
        _ => Err(Malformed("a mark of all tenants' probes that is none")),
    }
}

/// Reads the bytes of a tenant's day.
///
/// # Errors
///
/// When they are not what the layout says: every length is checked before memory is taken for it.
pub(crate) fn decode_day(bytes: &[u8]) -> Decoded<(i32, Vec<AppProbes>)> {
    const UNFIT: Malformed = Malformed("probes outside of their day");
    let mut cursor = Cursor::new(bytes);
    if cursor.u8()? != VERSION {
        return Err(Malformed("probes of an unknown version"));
    }
    let day = i32::from_le_bytes(cursor.array()?);
    let start = start_of(day);
    // An application takes five bytes at least, a probe one.
    let count = cursor.len(cursor.rest().len() / 5)?;
    let mut apps: Vec<AppProbes> = Vec::with_capacity(count);
    for _ in 0..count {
        let app = u32::try_from(cursor.varint()?).map_err(|_| Malformed("a code above its limit"))?;
        if apps.last().is_some_and(|(before, _)| before.wrapping_add(1) >= app) {
            return Err(Malformed("applications out of order"));
        }
        let len = cursor.len(cursor.rest().len())?;
        let mut probes: Vec<Probe> = Vec::with_capacity(len);
        let (mut before, mut gap) = (start, 0_i64);
        for index in 0..len {
            let written = cursor.varint()?;
            let this =
                if index < 2 { i64::try_from(written).ok() } else { gap.checked_add(unzigzag(written)) };
            gap = this.filter(|gap| (0..DAY_US).contains(gap)).ok_or(UNFIT)?;
            let at = before.checked_add(gap).filter(|at| at - start < DAY_US);
            before = at.ok_or(UNFIT)?;
            probes.push(Probe { at: TimestampUs(before), up: false, maintenance: false });
        }
        decode_states(&mut cursor, &mut probes)?;
        apps.push((app.wrapping_sub(1), probes));
    }
    cursor.end()?;
    Ok((day, apps))
}

fn decode_states(cursor: &mut Cursor<'_>, probes: &mut [Probe]) -> Decoded<()> {
    let mut rest = probes;
    if rest.is_empty() {
        return Err(Malformed("an application without probes"));
    }
    while !rest.is_empty() {
        let state = cursor.u8()?;
        let len = cursor.len(rest.len())?;
        if state > 3 || len == 0 {
            return Err(Malformed("a state of probes that there is not"));
        }
        let (run, others) = rest.split_at_mut(len);
        for probe in run {
            (probe.up, probe.maintenance) = (state & 1 == 1, state & 2 == 2);
        }
        rest = others;
    }
    Ok(())
}

fn start_of(day: i32) -> i64 {
    i64::from(day).saturating_mul(DAY_US)
}

fn state(probe: &Probe) -> u8 {
    u8::from(probe.up) | u8::from(probe.maintenance) << 1
}

const _: () = assert!(NULL_CODE.wrapping_add(1) == 0);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i32 = 19_800;

    fn probe(us: i64, state: u8) -> Probe {
        Probe { at: TimestampUs(start_of(DAY) + us), up: state & 1 == 1, maintenance: state & 2 == 2 }
    }

    fn any_apps() -> impl Strategy<Value = Vec<AppProbes>> {
        let probes = prop::collection::vec((0..DAY_US, 0_u8..4), 1..60).prop_map(|list| {
            let mut probes: Vec<Probe> = list.into_iter().map(|(at, state)| probe(at, state)).collect();
            probes.sort_unstable();
            probes
        });
        prop::collection::btree_map(0_u32..5, probes, 0..4)
            .prop_map(|apps| apps.into_iter().map(|(app, probes)| (app.wrapping_sub(1), probes)).collect())
    }

    #[test]
    fn regular_probes_take_a_byte_each_and_the_format_is_as_it_was() {
        let minutely: Vec<Probe> =
            (0..1_440).map(|n| probe(n * 60_000_000, u8::from(n / 7 != 100))).collect();
        let other = vec![probe(5, 1), probe(5, 3), probe(900_000_001, 2), probe(86_399_999_999, 0)];
        let bytes = encode_day(DAY, &[(NULL_CODE, other), (7, minutely)]);
        assert!(bytes.len() < 1_500, "{}", bytes.len());
        crate::golden::check("probes.bin", &bytes);
    }

    #[test]
    fn a_mark_says_whether_there_are_probes_and_nothing_else_is_one() {
        for has_probes in [false, true] {
            let bytes = encode_mark(DAY, has_probes);
            assert_eq!(decode_mark(&bytes).unwrap(), (DAY, has_probes));
            for cut in 0..bytes.len() {
                assert!(decode_mark(&bytes[..cut]).is_err());
            }
            assert!(decode_mark(&[&bytes[..], &[0]].concat()).is_err());
        }
        assert!(decode_mark(&encode_day(DAY, &[(NULL_CODE, vec![probe(5, 1)])])).is_err());
        assert!(decode_mark(&encode_day(DAY, &[(3, vec![probe(5, 1)])])).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(apps in any_apps()) {
            prop_assert_eq!(decode_day(&encode_day(DAY, &apps)).unwrap(), (DAY, apps));
        }

        #[test]
        fn changed_bytes_are_refused_or_read_and_never_panic(
            apps in any_apps(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode_day(DAY, &apps);
            prop_assert!(decode_day(&bytes[..cut.index(bytes.len())]).is_err());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode_day(&bytes);
        }
    }
}

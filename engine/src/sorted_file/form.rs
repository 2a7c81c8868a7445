//! What keys look like: those that are numbers in disguise, to be packed as numbers.

/// Characters of a UUID as text.
const UUID_TEXT_BYTES: usize = 36;
/// Places of the hyphens in it.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const HEX: &[u8; 16] = b"0123456789abcdef";

/// The form of a key. Keys of one form are in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// Anything; not packed.
    Text,
    /// A UUID in lower case with hyphens.
    Uuid,
    /// So many bytes, 1 to 16, that are not all printable: a big-endian number.
    Bytes(u8),
    /// So many lower-case hexadecimal digits, 1 to 32.
    Hex(u8),
    /// So many decimal digits, 1 to 38.
    Decimal(u8),
}

impl Form {
    /// The form that takes the fewest bits.
    pub(super) fn of(key: &[u8]) -> Self {
        let Ok(len @ 1..) = u8::try_from(key.len()) else {
            return Self::Text;
        };
        if len <= 38 && key.iter().all(u8::is_ascii_digit) {
            Self::Decimal(len)
        } else if len <= 32 && key.iter().all(|c| hex_digit(*c).is_some()) {
            Self::Hex(len)
        } else if is_uuid(key) {
            Self::Uuid
        } else if len <= 16 && key.iter().any(|c| !(0x20..0x7f).contains(c)) {
            Self::Bytes(len)
        } else {
            Self::Text
        }
    }

    /// Another form that the keys of this one have too, when others look like that.
    pub(super) fn wider(self) -> Option<Self> {
        match self {
            Self::Decimal(len) if len <= 32 => Some(Self::Hex(len)),
            _ => None,
        }
    }

    /// The number that names the form on disk: text 0, UUID 1, bytes 16, hexadecimal 64, decimal 128 and
    /// the length.
    pub(super) fn tag(self) -> u8 {
        match self {
            Self::Text => 0,
            Self::Uuid => 1,
            Self::Bytes(len) => 16 + len,
            Self::Hex(len) => 64 + len,
            Self::Decimal(len) => 128 + len,
        }
    }

    /// The form of a number on disk, if there is one.
    pub(super) fn from_tag(tag: u64) -> Option<Self> {
        let tag = u8::try_from(tag).ok()?;
        match tag {
            0 => Some(Self::Text),
            1 => Some(Self::Uuid),
            17..=32 => Some(Self::Bytes(tag - 16)),
            65..=96 => Some(Self::Hex(tag - 64)),
            129..=166 => Some(Self::Decimal(tag - 128)),
            _ => None,
        }
    }

    /// The largest number of a key of this form.
    pub(super) fn largest(self) -> u128 {
        match self {
            Self::Text => 0,
            Self::Uuid => u128::MAX,
            Self::Bytes(len) => u128::MAX >> (128 - u32::from(len.clamp(1, 16)) * 8),
            Self::Hex(len) => u128::MAX >> (128 - u32::from(len.clamp(1, 32)) * 4),
            Self::Decimal(len) => 10_u128.pow(u32::from(len.min(38))) - 1,
        }
    }

    /// The number of a key of this form.
    pub(super) fn number(self, key: &[u8]) -> u128 {
        let from_digits = |base: u128| {
            let digits = key.iter().filter_map(|c| hex_digit(*c));
            digits.fold(0_u128, |n, digit| n.wrapping_mul(base).wrapping_add(u128::from(digit)))
        };
        match self {
            Self::Text => 0,
            Self::Bytes(_) => key.iter().fold(0, |n, byte| n << 8 | u128::from(*byte)),
            Self::Uuid | Self::Hex(_) => from_digits(16),
            Self::Decimal(_) => from_digits(10),
        }
    }

    /// Writes the key of a number, which is at most [`Self::largest`].
    #[expect(clippy::big_endian_bytes, reason = "so that keys are in the order of their numbers")]
    pub(super) fn put_key(self, number: u128, out: &mut Vec<u8>) {
        match self {
            Self::Text => {}
            Self::Bytes(len) => {
                let bytes = number.to_be_bytes();
                out.extend_from_slice(bytes.get(16 - usize::from(len.min(16))..).unwrap_or(&[]));
            }
            Self::Hex(len) => put_hex(number, len, out),
            Self::Uuid => {
                let mut digits = Vec::with_capacity(32);
                put_hex(number, 32, &mut digits);
                for (place, digit) in digits.into_iter().enumerate() {
                    if matches!(place, 8 | 12 | 16 | 20) {
                        out.push(b'-');
                    }
                    out.push(digit);
                }
            }
            Self::Decimal(len) => {
                let start = out.len();
                let mut rest = number;
                for _ in 0..len {
                    out.push(HEX.get((rest % 10) as usize).copied().unwrap_or(b'0'));
                    rest /= 10;
                }
                if let Some(digits) = out.get_mut(start..) {
                    digits.reverse();
                }
            }
        }
    }
}

fn is_uuid(key: &[u8]) -> bool {
    let fits = |(place, c): (usize, &u8)| {
        if HYPHENS.contains(&place) { *c == b'-' } else { hex_digit(*c).is_some() }
    };
    key.len() == UUID_TEXT_BYTES && key.iter().enumerate().all(fits)
}

fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

fn put_hex(number: u128, len: u8, out: &mut Vec<u8>) {
    for place in (0..u32::from(len)).rev() {
        let digit = (number >> (place * 4)) & 15;
        out.push(HEX.get(digit as usize).copied().unwrap_or(b'0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_gives_its_key_back() {
        let cases: [(&[u8], Form); 12] = [
            (b"", Form::Text),
            (b"user.login", Form::Text),
            (b"0f8fad5b-d9cb-469f-a165-70867728950e", Form::Uuid),
            (b"0F8FAD5B-d9cb-469f-a165-70867728950e", Form::Text),
            (b"0f8fad5bd-9cb-469f-a165-70867728950e", Form::Text),
            (&[0, 0, 1, 255], Form::Bytes(4)),
            (&[255; 16], Form::Bytes(16)),
            (&[255; 17], Form::Text),
            (b"00ff", Form::Hex(4)),
            (b"ffffffffffffffffffffffffffffffff", Form::Hex(32)),
            (b"0042", Form::Decimal(4)),
            (b"99999999999999999999999999999999999999", Form::Decimal(38)),
        ];
        for (key, form) in cases {
            assert_eq!(Form::of(key), form, "{key:?}");
            assert_eq!(Form::from_tag(u64::from(form.tag())), Some(form));
            if form != Form::Text {
                let number = form.number(key);
                assert!(number <= form.largest());
                let mut back = Vec::new();
                form.put_key(number, &mut back);
                assert_eq!(back, key);
            }
        }
    }
}

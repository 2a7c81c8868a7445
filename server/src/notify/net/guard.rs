//! Which addresses a channel may lead to: those of the public Internet, and what the operator allows besides.
//!
//! Channels are set by organizations, requests to them are sent from within the operator's network: without a guard an
//! organization could have the server ask what only the server can reach (server-side request forgery). The check is of
//! the address that is connected to, at the moment of connecting ([`super::connect`]): a name may lead elsewhere a
//! second later, and a check of its text says nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Network;

/// IPv4 networks that are not the public Internet, with what they are (IANA's registry of special-purpose addresses).
const NOT_PUBLIC_V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::UNSPECIFIED, 8, "this host"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a carrier's customers"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    // Clouds serve credentials of the machine at 169.254.169.254.
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "of protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "of documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "of benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "of documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "of documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    // With 255.255.255.255, broadcast.
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The part of IPv6 that is handed out to networks; all else is refused unless it stands for an IPv4 address.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What of it is not the public Internet.
const NOT_PUBLIC_V6: &[(Ipv6Addr, u8, &str)] = &[
    // With Teredo, whose addresses hide an IPv4 address, and benchmarks.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "of protocols"),
    (Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0), 32, "of documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "of documentation"),
];

/// An address that may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address {address} is not public: {kind}")]
pub struct Refused {
    /// The address. For the operator's log; whose channel it is does not learn where names lead in here.
    pub address: IpAddr,
    /// What it is.
    pub kind: &'static str,
}

/// Judges addresses.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Vec<Network>,
}

impl Guard {
    /// A guard that lets these networks through besides the public Internet.
    pub fn new(allowed: Vec<Network>) -> Self {
        Self { allowed }
    }

    /// Judges an address.
    ///
    /// # Errors
    ///
    /// [`Refused`], with what the address is.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        if self.allowed.iter().any(|network| network.contains(address)) {
            return Ok(());
        }
        match not_public(address) {
            Some(kind) => Err(Refused { address, kind }),
            None => Ok(()),
        }
    }
}

/// What an address is when it is none of the public Internet.
fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => not_public_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(embedded) => not_public_v4(embedded),
            None => not_public_v6(address),
        },
    }
}

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    let within = |network: Ipv4Addr, bits: u8| {
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        address.to_bits() & mask == network.to_bits()
    };
    NOT_PUBLIC_V4.iter().find(|(network, bits, _)| within(*network, *bits)).map(|(_, _, kind)| *kind)
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    let within = |network: Ipv6Addr, bits: u8| {
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        address.to_bits() & mask == network.to_bits()
    };
    if !within(PUBLIC_V6.0, PUBLIC_V6.1) {
        return Some("outside of global unicast");
    }
    NOT_PUBLIC_V6.iter().find(|(network, bits, _)| within(*network, *bits)).map(|(_, _, kind)| *kind)
}

/// The IPv4 address that packets to an IPv6 address end at: mapped (`::ffff:0:0/96`), translated by NAT64
/// (`64:ff9b::/96`, RFC 6052), or behind 6to4 (`2002::/16`, RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    #[expect(clippy::cast_possible_truncation, reason = "32 bits are meant")]
    let at = |shift: u32| Some(Ipv4Addr::from_bits((bits >> shift) as u32));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x0064, 0xff9b, 0, 0, 0, 0, ..] => at(0),
        [0x2002, ..] => at(80),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::{Host, Url};

    use super::*;

    /// The address of a host in a URL, as a request would go there.
    fn address(host: &str) -> IpAddr {
        match Url::parse(&format!("http://{host}/")).unwrap().host().unwrap() {
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
            Host::Domain(name) => panic!("{name} is no address"),
        }
    }

    /// Hosts of URLs that lead inside, or nowhere: addresses of IPv4 in every spelling.
    const HOSTILE_V4: &[&str] = &[
        // Loopback: dotted, short, decimal, octal, hexadecimal, mixed, with a dot, full-width, percent-encoded.
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.255.255.255",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "%31%32%37.0.0.1",
        "0",
        "0.0.0.0",
        // Private, shared, link-local with the credentials of clouds.
        "10.0.0.1",
        "10.255.255.255",
        "0xa000001",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "3232235521",
        "100.64.0.1",
        "100.127.255.255",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        // Protocols, documentation, relays, benchmarks, multicast, reserved, broadcast.
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
    ];

    /// The same of IPv6.
    const HOSTILE_V6: &[&str] = &[
        // Unspecified, loopback, mapped and compatible, link-local, unique local, site-local, multicast.
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[::127.0.0.1]",
        "[::a9fe:a9fe]",
        "[::ffff:0:127.0.0.1]",
        "[fe80::1]",
        "[febf::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fdff::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[ff0e::1]",
        // NAT64 and 6to4 with what they hide, Teredo, ORCHID, benchmarks, documentation, discard, SRv6.
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2002:a00:1::1]",
        "[2002:c0a8:101::1]",
        "[2002:a9fe:a9fe::]",
        "[2001::1]",
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
        "[2001:10::1]",
        "[2001:20::1]",
        "[2001:2::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
        "[5f00::1]",
        "[4000::1]",
        "[e000::1]",
    ];

    #[test]
    fn hostile_addresses_are_refused_in_every_spelling() {
        for host in HOSTILE_V4.iter().chain(HOSTILE_V6) {
            assert!(Guard::default().check(address(host)).is_err(), "{host}");
        }
    }

    #[test]
    fn the_public_internet_is_let_through() {
        for host in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[2a00::1]",
            "[2001:4860:4860::8888]",
            "[2001:200::1]",
            "[3ffe::1]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::808:808]",
            "[2002:808:808::1]",
        ] {
            assert_eq!(Guard::default().check(address(host)), Ok(()), "{host}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_let_through_and_nothing_beside_it() {
        let allowed = ["10.1.0.0/16", "fd00:1::/32", "127.0.0.1"].map(|text| Network::parse(text).unwrap());
        let guard = Guard::new(allowed.to_vec());
        for host in ["10.1.2.3", "[::ffff:10.1.2.3]", "[fd00:1::9]", "127.0.0.1", "8.8.8.8"] {
            assert_eq!(guard.check(address(host)), Ok(()), "{host}");
        }
        for host in ["10.2.0.1", "[fd00:2::9]", "127.0.0.2", "[::1]", "[64:ff9b::a01:203]"] {
            assert!(guard.check(address(host)).is_err(), "{host}");
        }
    }

    proptest! {
        /// The judge is written from the names of the standard library, not from the table.
        #[test]
        fn the_standard_library_knows_no_special_address_that_passes(v4: u32, v6: u128, low: u16) {
            let v4 = Ipv4Addr::from_bits(v4);
            let is_special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_unspecified() || v4.is_multicast();
            prop_assert!(!is_special || Guard::default().check(v4.into()).is_err());
            // Half of the prefixes of 16 bits are in no other way special than by their beginning.
            let v6 = Ipv6Addr::from_bits((v6 >> 16) | (u128::from(low) << 112));
            let is_special = v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unique_local()
                || v6.is_unspecified() || v6.is_multicast();
            prop_assert!(!is_special || Guard::default().check(v6.into()).is_err());
            // However an IPv4 address is wrapped, it is judged as itself.
            let bare = Guard::default().check(v4.into()).is_ok();
            let bits = u128::from(v4.to_bits());
            for wrapped in [(0xffff << 32) | bits, (0x0064_ff9b << 96) | bits, (0x2002 << 112) | (bits << 80)] {
                let wrapped = IpAddr::V6(Ipv6Addr::from_bits(wrapped));
                prop_assert_eq!(Guard::default().check(wrapped).is_ok(), bare, "{}", wrapped);
            }
        }
    }
}

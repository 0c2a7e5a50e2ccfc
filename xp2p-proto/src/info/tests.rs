use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;

use super::*;
use crate::keys::SecretKey;

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes([n; 32])
}

fn addr(text: &str) -> HostPort {
    text.parse().unwrap()
}

fn server(n: u8, addrs: &[&str]) -> ServerAddr {
    ServerAddr { key: key(n).public(), addrs: addrs.iter().map(|a| addr(a)).collect(), tcp_port: None }
}

fn small() -> Xp2pInfo {
    let servers = vec![server(2, &["192.0.2.1:3478"])];
    Xp2pInfo::new(key(1).public(), Ticket::from_bytes([7; 16]), servers, Version::CURRENT).unwrap()
}

fn full() -> Xp2pInfo {
    let servers = vec![
        server(2, &["192.0.2.1:3478", "[2001:db8::1]:3478", "server.example:443"]),
        server(3, &["198.51.100.7:1"]),
    ];
    let capability = Capability::issue(&key(1), Rights::ALL, 3, NonZeroU64::new(1_900_000_000), [5; 8]);
    Xp2pInfo::new(key(1).public(), Ticket::from_bytes([7; 16]), servers, Version::new(2, 4, 29))
        .unwrap()
        .with_lan(vec!["10.0.0.9:5000".parse().unwrap(), "[fe80::1]:5000".parse().unwrap()])
        .unwrap()
        .with_capability(Some(capability))
        .unwrap()
        .with_flags(Flags { mjpeg: true })
}

fn arb_name() -> impl Strategy<Value = Host> {
    "[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?(\\.[a-z]([a-z0-9-]{0,6}[a-z0-9])?){1,3}"
        .prop_map(|name| Host::Name(DnsName::new(&name).unwrap()))
}

fn arb_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|ip| Ipv4Addr::from(ip).into()),
        any::<u128>().prop_map(|ip| Ipv6Addr::from(ip).into())
    ]
    .prop_filter("where somebody can be", |ip| addr::check_ip(*ip).is_ok())
}

fn arb_addr() -> impl Strategy<Value = HostPort> {
    let host = prop_oneof![arb_name(), arb_ip().prop_map(Host::Ip)];
    (host, 1..=u16::MAX).prop_map(|(host, port)| HostPort { host, port })
}

prop_compose! {
    fn arb_info()(
        camera in 0..100u8,
        ticket in any::<[u8; 16]>(),
        addrs in proptest::collection::btree_set(arb_addr(), 3..=9),
        servers in 1..=3usize,
        lan in proptest::collection::btree_set((arb_ip(), 1..=u16::MAX), 0..=MAX_LAN),
        capability in proptest::option::of((1..=31u8, any::<u32>(), any::<u64>(), any::<[u8; 8]>())),
        version in any::<(u16, u16, u16)>(),
        mjpeg in any::<bool>(),
    ) -> Xp2pInfo {
        let addrs: Vec<_> = addrs.into_iter().collect();
        let servers = addrs.chunks(3).take(servers).zip(100u8..).map(|(addrs, n)| {
            ServerAddr { key: key(n).public(), addrs: addrs.to_vec(), tcp_port: None }
        });
        let capability = capability.map(|(rights, epoch, expiry, serial)| {
            let rights = Rights::from_bits(rights).unwrap();
            Capability::issue(&key(camera), rights, epoch, NonZeroU64::new(expiry), serial)
        });
        let version = Version::new(version.0, version.1, version.2);
        Xp2pInfo::new(key(camera).public(), Ticket::from_bytes(ticket), servers.collect(), version)
            .unwrap()
            .with_lan(lan.into_iter().map(Into::into).collect())
            .unwrap()
            .with_capability(capability)
            .unwrap()
            .with_flags(Flags { mjpeg })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_info_round_trips(info in arb_info()) {
        let text = info.to_text();
        prop_assert!(text.len() <= MAX_TEXT);
        prop_assert_eq!(Xp2pInfo::parse(&text), Ok(info));
    }

    #[test]
    fn a_changed_text_never_panics_and_has_one_form(
        info in arb_info(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..4),
    ) {
        let mut chars: Vec<char> = info.to_text().chars().collect();
        for (at, to) in changes {
            let at = at.index(chars.len());
            chars[at] = to;
        }
        let text: String = chars.into_iter().collect();
        match Xp2pInfo::parse(&text) {
            Ok(info) => prop_assert_eq!(info.to_text(), text),
            Err(error) => {
                prop_assert!(error.position() <= text.len());
                prop_assert!(error.to_string().chars().all(|c| !c.is_control()), "{}", error);
            }
        }
    }

    #[test]
    fn a_changed_payload_never_panics_and_has_one_form(
        info in arb_info(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = info.to_payload();
        let at = at.index(bytes.len());
        bytes[at] = to;
        match Xp2pInfo::from_payload(&bytes, info.version(), info.flags()) {
            Ok(info) => prop_assert_eq!(info.to_payload(), bytes),
            Err(error) => prop_assert!(error.offset <= bytes.len()),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), text in ".*") {
        if let Ok(info) = Xp2pInfo::from_payload(&bytes, Version::CURRENT, Flags::default()) {
            prop_assert_eq!(info.to_payload(), bytes);
        }
        prop_assert!(Xp2pInfo::parse(&text).is_err());
    }
}

fn reason(bytes: &[u8]) -> (usize, PayloadReason) {
    let error = Xp2pInfo::from_payload(bytes, Version::CURRENT, Flags::default()).unwrap_err();
    (error.offset, error.reason)
}

#[test]
fn the_payload_has_its_documented_bytes() {
    let bytes = small().to_payload();
    let mut expected = vec![1];
    expected.extend_from_slice(key(1).public().as_bytes());
    expected.extend_from_slice(&[7; 16]);
    expected.push(1);
    expected.extend_from_slice(key(2).public().as_bytes());
    expected.extend_from_slice(&[1, 4, 192, 0, 2, 1, 0x0d, 0x96, 0, 0]);
    assert_eq!(bytes, expected);
    let text = small().to_text();
    assert_eq!(text, format!("XP2P{}%2.4.0", BASE64URL_NOPAD.encode(&expected)));
    assert!(full().to_text().ends_with("%2.4.29m"));
    assert_eq!(Xp2pInfo::parse(&full().to_text()), Ok(full()));
}

/// Other implementations can be held against this one: all secret keys are 32 times the same byte (camera 1, servers
/// 2 and 3), the ticket is 16 times 7.
#[test]
fn the_text_of_a_known_info_never_changes() {
    let expected = concat!(
        "XP2PAYqI4910CfGV_VLbLTy6XXLKZwm_HZQSG_N0iAG0D29cBwcHBwcHBwcHBwcHBwcHBwKBOXcOqH0XX1ajVGbDTH7My42K",
        "kbTuN6Jd9g9bj8mzlAMEwAACAQ2WBiABDbgAAAAAAAAAAAAAAAENlgAOc2VydmVyLmV4YW1wbGUBu-1JKMYo0cLG6ukDOJBZ",
        "lWEpWSc6XGP5NjbBRhSshzfRAQTGM2QHAAECBAoAAAkTiAb-gAAAAAAAAAAAAAAAAAABE4hWAR8AAAADAAAAAHE_swAFBQUF",
        "BQUFBYGHFWtY1R9BwoRvuc83hIvsbYCe2wMiolhgJusSCgtTgwswOdJx6uN0iHM8MF2Nt_eInwBWak2ZF4OglesHgwE%2.4.",
        "29m",
    );
    assert_eq!(full().to_text(), expected);
}

#[test]
fn a_truncated_payload_names_its_end_and_what_is_missing() {
    let bytes = full().to_payload();
    let mut inside = Vec::new();
    for len in 0..bytes.len() {
        let (offset, reason) = reason(&bytes[..len]);
        assert_eq!(offset, len);
        let PayloadReason::Truncated { what } = reason else { panic!("{len}: {reason:?}") };
        inside.push(what);
    }
    inside.dedup();
    assert_eq!(inside[..4], ["the format number", "the camera's key", "the ticket", "the number of servers"]);
    assert_eq!(inside.last(), Some(&"the capability"));
    assert!(!inside.contains(&""));
}

#[test]
fn a_truncated_text_names_a_position() {
    let text = full().to_text();
    let flags_and_version = text.len() - text.find('%').unwrap();
    for len in 0..text.len() {
        let result = Xp2pInfo::parse(&text[..len]);
        // Without the flag, and without the last digit of a two-digit number, it is still a whole one.
        if len >= text.len() - 2 {
            assert!(result.is_ok(), "{len}");
            continue;
        }
        let error = result.unwrap_err();
        if let InfoError::Vendor { .. } = error {
            assert!([26, 28].contains(&len), "{len}");
            continue;
        }
        assert_eq!(error.code().number(), -2001);
        assert!(error.position() <= len && error.position() + 1 >= len.min(MAX_TEXT), "{len}: {error}");
        if len < PREFIX.len() && len > 0 {
            assert_eq!(error, InfoError::Prefix { position: len });
        }
        if len + flags_and_version > text.len() {
            assert!(matches!(error, InfoError::Version { .. }), "{len}: {error:?}");
        }
    }
}

#[test]
fn the_vendors_form_is_told_apart() {
    for (payload, text) in [
        (16, "XP2PTAQEBgYHE1F4QjRBRDNCRA%2.4.29m"),
        (16, "XP2PTAQEBgYHE1F4QjRBRDNCRA==%2.4.29"),
        (18, "XP2PTAQEBgYHE1F4QjRBRDNC+/A9%2.3.0"),
        (18, "XP2PTAQEBgYHE1F4QjRBRDNC-_A9"),
    ] {
        let error = Xp2pInfo::parse(text).unwrap_err();
        assert_eq!(error, InfoError::Vendor { payload }, "{text}");
        assert!(error.to_string().contains("vendor's closed cloud"));
        assert_eq!(error.code().number(), -2001);
    }
    let error = Xp2pInfo::parse("XP2PTAQEBgYHE1F4QjRBRDNC-_A%2.3.0").unwrap_err();
    assert!(!matches!(error, InfoError::Vendor { .. }), "17 bytes: {error:?}");
}

#[test]
fn wrong_texts_are_refused_at_their_character() {
    let text = small().to_text();
    let end = text.find('%').unwrap();
    let parse = |text: &str| Xp2pInfo::parse(text).unwrap_err();
    assert_eq!(parse(""), InfoError::Empty);
    assert_eq!(parse(&"X".repeat(MAX_TEXT + 1)), InfoError::TooLong { found: MAX_TEXT + 1 });
    assert_eq!(parse("XP3P"), InfoError::Prefix { position: 2 });
    assert_eq!(parse(&format!(" {text}")), InfoError::Prefix { position: 0 });
    assert_eq!(parse(&text[..end]), InfoError::NoVersion { position: end });
    let changed = |at: usize, to: &str| format!("{}{to}{}", &text[..at], &text[at + 1..]);
    assert_eq!(parse(&changed(9, "é")), InfoError::Character { position: 9, found: 'é' });
    assert_eq!(parse(&changed(9, "\n")), InfoError::Character { position: 9, found: '\n' });
    assert_eq!(parse(&changed(9, "=")), InfoError::Character { position: 9, found: '=' });
    assert_eq!(parse(&text.replace('%', "AA%")), InfoError::Base64End { position: end + 1 });
    assert_eq!(parse(&changed(end - 1, "B")), InfoError::Base64End { position: end - 1 }, "stray bits");
    assert!(
        matches!(parse(&text.replace("%2.4.0", "%2.4.00")), InfoError::Version { position, .. } if position == end + 5)
    );
    assert!(matches!(parse(&format!("{text}x")), InfoError::Flag { position, .. } if position == text.len()));
    assert!(
        matches!(parse(&format!("{text}m\n")), InfoError::Flag { position, .. } if position == text.len() + 1)
    );
    assert!(matches!(parse(&format!("{text} ")), InfoError::Version { .. }));
}

#[test]
fn the_position_of_a_wrong_byte_is_that_of_its_character() {
    let mut bytes = small().to_payload();
    bytes[0] = 2;
    let text = format!("XP2P{}%2.4.0", BASE64URL_NOPAD.encode(&bytes));
    assert_eq!(Xp2pInfo::parse(&text).unwrap_err().position(), 4);
    bytes[0] = 1;
    bytes[49] = 9;
    let text = format!("XP2P{}%2.4.0", BASE64URL_NOPAD.encode(&bytes));
    let error = Xp2pInfo::parse(&text).unwrap_err();
    assert_eq!(error.position(), 4 + 65, "bits 392 to 399 begin in character 65");
    assert!(error.to_string().contains("byte 49"), "{error}");
}

#[test]
fn every_wrong_part_of_a_payload_has_its_own_reason() {
    let good = small().to_payload();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        reason(&changed)
    };
    // Offsets: format 0, camera 1, ticket 33, servers 49, key 50, addresses 82, kind 83, ip 84, port 88, lan 90,
    // capability 91.
    assert_eq!(with(0, &[2]), (0, PayloadReason::Format { found: 2 }));
    assert_eq!(with(1, &[0; 32]), (1, PayloadReason::CameraKey));
    assert_eq!(with(49, &[0]), (49, PayloadReason::ServerCount { found: 0 }));
    assert_eq!(with(49, &[4]), (49, PayloadReason::ServerCount { found: 4 }));
    assert_eq!(with(50, &[0; 32]), (50, PayloadReason::ServerKey));
    assert_eq!(with(82, &[0]), (82, PayloadReason::AddressCount { found: 0 }));
    assert_eq!(with(82, &[5]), (82, PayloadReason::AddressCount { found: 5 }));
    assert_eq!(with(83, &[5]), (83, PayloadReason::AddressKind { found: 5 }));
    let ip = IpAddr::from([0; 4]);
    assert_eq!(with(84, &[0; 4]), (84, PayloadReason::Addr(AddrError::NoMachine { ip })));
    assert_eq!(with(88, &[0; 2]), (88, PayloadReason::Addr(AddrError::PortZero)));
    assert_eq!(with(90, &[5]), (90, PayloadReason::LanCount { found: 5 }));
    assert_eq!(with(91, &[85]), (91, PayloadReason::CapabilityLength { found: 85 }));
    let longer = [good.as_slice(), &[0, 0]].concat();
    assert_eq!(reason(&longer), (good.len(), PayloadReason::Trailing { count: 2 }));
    assert_eq!(reason(&[1; 513]), (512, PayloadReason::TooLong { found: 513 }));

    let named = |name: &[u8]| {
        let length = u8::try_from(name.len()).unwrap();
        reason(&[&good[..83], &[0, length], name, &good[88..]].concat())
    };
    assert_eq!(named(b""), (84, PayloadReason::Name(NameError::Length { found: 0 })));
    assert_eq!(named(b"a.B"), (87, PayloadReason::Name(NameError::Character { position: 2 })));
    assert_eq!(named(b"a\xff"), (86, PayloadReason::Name(NameError::Character { position: 1 })));
    assert_eq!(named(b"a."), (87, PayloadReason::Name(NameError::Label { position: 2 })));
    assert_eq!(named(b"1.2.3.4"), (85, PayloadReason::Name(NameError::Numeric)));

    let twice = [&good[..82], &[2], &good[83..90], &good[83..]].concat();
    assert_eq!(reason(&twice), (90, PayloadReason::AddressTwice));
    let lan = [&good[..90], &[2], &good[83..90], &good[83..90], &[0]].concat();
    assert_eq!(reason(&lan), (98, PayloadReason::AddressTwice));
    let lan_name = [&good[..90], &[1, 0, 1, b'a', 0, 1, 0]].concat();
    assert_eq!(reason(&lan_name), (91, PayloadReason::AddressKind { found: 0 }));
    let same_key = [&good[..49], &[2], &good[50..90], &good[50..]].concat();
    assert_eq!(reason(&same_key), (90, PayloadReason::ServerTwice));
    let mut other_key = same_key.clone();
    other_key[90..122].copy_from_slice(key(3).public().as_bytes());
    assert_eq!(reason(&other_key), (123, PayloadReason::AddressTwice), "two keys at one address");

    let capability = Capability::issue(&key(2), Rights::ALL, 0, None, [0; 8]).to_bytes();
    let foreign = [&good[..91], &[86], &capability].concat();
    assert_eq!(reason(&foreign), (92, PayloadReason::ForeignCapability));
    let mut malformed = foreign;
    malformed[93] = 0;
    let expected = PayloadReason::Capability(CapabilityFormatError::Rights(RightsError::Empty));
    assert_eq!(reason(&malformed), (93, expected));
}

#[test]
fn an_info_cannot_be_made_of_wrong_parts() {
    let make = |servers| {
        let result = Xp2pInfo::new(key(1).public(), Ticket::from_bytes([0; 16]), servers, Version::CURRENT);
        result.map_err(|e| (e.code().number(), e.0))
    };
    assert_eq!(make(vec![]), Err((-2001, PayloadReason::ServerCount { found: 0 })));
    let four = (2..6).map(|n| server(n, &[&format!("192.0.2.{n}:1")])).collect();
    assert_eq!(make(four), Err((-2001, PayloadReason::ServerCount { found: 4 })));
    let many = (1..=300u16).map(|port| HostPort { host: addr("a:1").host, port }).collect();
    let many = vec![ServerAddr { key: key(2).public(), addrs: many, tcp_port: None }];
    assert!(matches!(make(many), Err((_, PayloadReason::TooLong { .. }))));
    let port = HostPort { host: addr("a:1").host, port: 0 };
    let wrong = vec![ServerAddr { key: key(2).public(), addrs: vec![port], tcp_port: None }];
    assert_eq!(make(wrong), Err((-2001, PayloadReason::Addr(AddrError::PortZero))));
    let long = format!("{}:1", ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join("."));
    let long: Vec<_> =
        (2..5).map(|n| server(n, &[&long.replace('a', &char::from(b'a' + n).to_string())])).collect();
    assert!(matches!(make(long), Err((-2001, PayloadReason::TooLong { .. }))));

    let foreign = Capability::issue(&key(2), Rights::ALL, 0, None, [0; 8]);
    let error = small().with_capability(Some(foreign)).unwrap_err();
    assert_eq!(error, BuildInfoError(PayloadReason::ForeignCapability));
    let lan = vec!["10.0.0.1:1".parse().unwrap(); 2];
    assert_eq!(small().with_lan(lan).unwrap_err(), BuildInfoError(PayloadReason::AddressTwice));
}

#[test]
fn logs_show_neither_ticket_nor_capability() {
    let shown = format!("{:?}", full());
    let capability = full().capability().unwrap().to_base64();
    assert!(!shown.contains(&capability[40..]) && !shown.contains("signature"), "{shown}");
    assert!(shown.contains("Ticket(07070707..)"), "{shown}");
}

#[test]
fn a_tcp_port_of_its_own_is_told_and_nothing_else_changes() {
    let build = |tcp_port| {
        let mut servers = vec![server(2, &["s.example:3478"]), server(3, &["192.0.2.1:9"])];
        servers[0].tcp_port = tcp_port;
        Xp2pInfo::new(key(1).public(), Ticket::from_bytes([7; 16]), servers, Version::CURRENT)
    };
    let (without, with) = (build(None).unwrap(), build(Some(443)).unwrap());
    assert_eq!(Xp2pInfo::parse(&with.to_text()), Ok(with.clone()));
    assert_eq!(with.servers()[0].tcp_port, Some(443));
    let (plain, ported) = (without.to_payload(), with.to_payload());
    // Format, key, ticket, number of servers, key, and then the number of addresses.
    let count = 1 + 32 + 16 + 1 + 32;
    let end = count + 1 + 1 + 1 + "s.example".len() + 2;
    assert_eq!(ported[count], plain[count] | 0x40);
    assert_eq!(ported[count + 1..end], plain[count + 1..end]);
    assert_eq!(ported[end..end + 2], 443u16.to_be_bytes());
    assert_eq!(ported[end + 2..], plain[end..]);
    assert!(build(Some(0)).is_err(), "there is no port 0");
    let relay = Xp2pInfo::tcp_relay(&with.servers()[0], "192.0.2.9:3478".parse().unwrap());
    assert_eq!((relay.tcp, relay.key), ("192.0.2.9:443".parse().unwrap(), Some(key(2).public())));
    let relay = Xp2pInfo::tcp_relay(&with.servers()[1], "192.0.2.1:9".parse().unwrap());
    assert_eq!(relay.tcp, "192.0.2.1:9".parse().unwrap());
}

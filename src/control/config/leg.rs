//! One leg of a session: addresses, RTCP, keys, payload types.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::model::{Leg, Port, Protection, RemotePolicy, RtcpPolicy};
use super::node::Value;
use super::payload;
use super::reader::{Given, Reader, closest};
use super::registry::{EndpointUse, KeyRole, KeyUse, LegRef};
use super::session::World;
use super::value::{edge_of, is_link_local_v6, not_unicast, socket_address};
use crate::srtp::{MasterKey, MasterKeyError, MasterKeys, MasterKeysError, Mki, MkiError, Suite};

/// Ports below are the system's (RFC 6335 §6); voice never uses them.
const MIN_LOCAL_PORT: u16 = 1024;

/// The suite of a leg that is plain on purpose.
const PLAIN: &str = "none";

const ADDRESS_FORM: &str = "write it like \"10.1.0.1:20000\" or \"[fd00:1::1]:20000\"";

/// Reads one leg. `None` if a part without which there is no leg was wrong or missing; in every case all
/// that is wrong was recorded.
pub(super) fn leg(world: &mut World<'_>, reader: Reader<'_, '_>, this: LegRef) -> Option<Leg> {
    let local = local_of(world, &reader, this);
    let remote = remote_of(world, &reader, local);
    let protection = protection_of(world, &reader, this);
    let remote_policy = policy_of(&reader, protection.as_ref());
    let rtcp = rtcp_of(world, &reader, this, local, remote);
    let is_muxed = matches!(rtcp, Some(RtcpPolicy::Mux));
    let (payload_types, mut negotiated) = payload::negotiated(&reader, is_muxed);
    let reduced_size_rtcp = reader.boolean("reduced_size_rtcp", true);
    payload::extensions(&reader, &mut negotiated);
    reader.finish();
    let (port, local) = local?;
    Some(Leg {
        port,
        local,
        remote,
        remote_policy,
        rtcp: rtcp?,
        protection: protection?,
        payload_types,
        negotiated,
        reduced_size_rtcp,
    })
}

/// The local address and the index of its port (0 where the ports themselves are in error).
fn local_of(world: &mut World<'_>, reader: &Reader<'_, '_>, this: LegRef) -> Option<(usize, SocketAddr)> {
    let given = reader.required("local", "add local = \"ADDRESS:PORT\" with an address of a [[port]]")?;
    let (text, local) = address_of(&given)?;
    if local.port() < MIN_LOCAL_PORT {
        given.error_showing(text, format_args!("has port {}", local.port()), "use port 1024 to 65535");
    }
    let port = world.port_of.get(&local.ip()).copied();
    if port.is_none() && world.all_addresses_known {
        given.error_showing(
            text,
            "is not on an address of any [[port]]",
            format!("use {}", own_addresses(world)),
        );
    }
    let endpoint = EndpointUse { leg: this, protocol: "RTP" };
    if let Err(taken) = world.registry.endpoint(local, endpoint) {
        given.error_showing(
            text,
            describe_taken(world, &given, taken),
            "give each leg a local port of its own",
        );
    }
    Some((port.unwrap_or(0), local))
}

fn remote_of(
    world: &World<'_>,
    reader: &Reader<'_, '_>,
    local: Option<(usize, SocketAddr)>,
) -> Option<SocketAddr> {
    let given = reader.optional("remote")?;
    remote_address(world, &given, local)
}

/// An address at which a leg on `local` can reach its other end; `Some` even if it was found wrong.
fn remote_address(
    world: &World<'_>,
    given: &Given<'_, '_>,
    local: Option<(usize, SocketAddr)>,
) -> Option<SocketAddr> {
    let (text, remote) = address_of(given)?;
    let wrong = |what: &str, remedy: &str| given.error_showing(text, what, remedy);
    let ip = remote.ip();
    let edge = || {
        world
            .ports
            .iter()
            .flat_map(|port| &port.addresses)
            .find_map(|net| if net.contains(ip) { edge_of(*net, ip) } else { None })
    };
    if remote.port() == 0 {
        wrong("has port 0", "give the port of the other end");
    } else if world.port_of.contains_key(&ip) {
        wrong("is this gateway's own address", "give the address of the other end");
    } else if let Some(what) = not_unicast(ip).or_else(edge) {
        wrong(&format!("is {what}"), "give the address of one host");
    } else if let Some((port, local)) = local {
        if local.is_ipv4() != remote.is_ipv4() {
            wrong("is of another family than local", "use IPv4 for both or IPv6 for both");
        } else if let Some(port) = world.ports.get(port)
            && world.all_addresses_known
            && !is_routable(port, ip)
        {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let what =
                format!("is not in a network of port \"{}\", which has no {family} gateway", port.name);
            wrong(&what, "add the router to the port's gateways");
        }
    }
    Some(remote)
}

/// Whether `port` knows a next hop for `remote`: on-link or a gateway of the family.
fn is_routable(port: &Port, remote: IpAddr) -> bool {
    port.addresses.iter().any(|net| net.contains(remote))
        || (!is_link_local_v6(remote)
            && port.gateways.iter().any(|gateway| gateway.is_ipv4() == remote.is_ipv4()))
}

fn policy_of(reader: &Reader<'_, '_>, protection: Option<&Protection>) -> RemotePolicy {
    let has_remote = !reader.at("remote").is_absent();
    let is_plain = protection.is_some_and(|protection| !protection.is_encrypted());
    let Some(given) = reader.optional("remote_policy") else {
        if !has_remote && is_plain {
            reader.error(
                "remote is missing, and a plain leg cannot learn it because nothing authenticates",
                "add remote = \"ADDRESS:PORT\", or encrypt the leg",
            );
        }
        return if has_remote { RemotePolicy::Pinned } else { RemotePolicy::Learn };
    };
    match given.string("pinned") {
        Some("learn") => {
            if is_plain {
                let remedy = "give a remote and use \"pinned\", or encrypt the leg";
                given.error(
                    "= \"learn\" needs an encrypted leg: on a plain one nothing authenticates",
                    remedy,
                );
            }
            RemotePolicy::Learn
        }
        Some("pinned") => {
            if !has_remote {
                given.error("= \"pinned\" needs a remote", "add remote = \"ADDRESS:PORT\", or use \"learn\"");
            }
            RemotePolicy::Pinned
        }
        Some(other) => {
            given.error_showing(other, "is not a policy", choose(other, &["pinned", "learn"]));
            RemotePolicy::Pinned
        }
        None => RemotePolicy::Pinned,
    }
}

/// `None` only after an error.
fn rtcp_of(
    world: &mut World<'_>,
    reader: &Reader<'_, '_>,
    this: LegRef,
    local: Option<(usize, SocketAddr)>,
    remote: Option<SocketAddr>,
) -> Option<RtcpPolicy> {
    let given_remote = reader.optional("remote_rtcp");
    let given = reader.optional("rtcp");
    // What `rtcp` says, and the port it leads to: `None` for mux.
    let own_port = match given.map(|given| (given, &given.node.value)) {
        None => None,
        Some((given, Value::String(text))) => match &**text {
            "mux" => None,
            "next" => next_port(&given, local)?,
            other => {
                let remedy = format!("{}, or a port number", choose(other, &["mux", "next"]));
                given.error_showing(other, "is not an RTCP policy", remedy);
                return None;
            }
        },
        Some((given, Value::Integer(_))) => Some(given.integer(MIN_LOCAL_PORT..=u16::MAX)?),
        Some((given, other)) => {
            given.wrong_kind(other, "a string or an integer", "use \"mux\", \"next\" or a port number");
            return None;
        }
    };
    let (Some(own_port), Some(given)) = (own_port, given) else {
        if let Some(given_remote) = given_remote {
            let remedy = "remove it, or set rtcp = \"next\" or a port number";
            given_remote.error("is of no use: RTCP is muxed with RTP", remedy);
        }
        return Some(RtcpPolicy::Mux);
    };

    let rtcp_remote = match (given_remote, remote) {
        (Some(given_remote), Some(_)) => remote_address(world, &given_remote, local),
        (Some(given_remote), None) => {
            if reader.at("remote").is_absent() {
                given_remote.error("is given without remote", "give both, or none and both are learned");
            }
            None
        }
        (None, Some(remote)) => {
            let next = remote.port().checked_add(1);
            if next.is_none() {
                let message = "remote has port 65535, so there is no next port for RTCP";
                reader.scope().error(given.line, message, "add remote_rtcp = \"ADDRESS:PORT\"");
            }
            next.map(|port| SocketAddr::new(remote.ip(), port))
        }
        (None, None) => None,
    };
    let rtcp_local = SocketAddr::new(local?.1.ip(), own_port);
    if rtcp_local == local?.1 {
        let message = format_args!("= {own_port} is the leg's RTP port");
        given.error(message, "use another port, or \"mux\" to share it");
    } else if let Err(taken) =
        world.registry.endpoint(rtcp_local, EndpointUse { leg: this, protocol: "RTCP" })
    {
        let what = format!("leads to {rtcp_local}, which {}", describe_taken(world, &given, taken));
        given.error(what, "give each leg local ports of its own");
    }
    Some(RtcpPolicy::Separate { local: rtcp_local, remote: rtcp_remote })
}

/// The port after the RTP port, which RFC 3550 §11 wants to be even; outer `None` after an error.
fn next_port(given: &Given<'_, '_>, local: Option<(usize, SocketAddr)>) -> Option<Option<u16>> {
    let rtp_port = local?.1.port();
    if !rtp_port.is_multiple_of(2) {
        let what = format_args!("= \"next\" needs an even RTP port, and local has {rtp_port}");
        given.error(what, "use an even port, or give the RTCP port as a number");
        return None;
    }
    rtp_port.checked_add(1).map(Some)
}

fn protection_of(world: &mut World<'_>, reader: &Reader<'_, '_>, this: LegRef) -> Option<Protection> {
    let remote_key = reader.optional("remote_key");
    let local_key = reader.optional("local_key");
    let given = reader.required("suite", &format!("add suite = {}", suites()))?;
    let text = given.string("AEAD_AES_128_GCM")?;
    if text == PLAIN {
        for key in [remote_key, local_key].into_iter().flatten() {
            key.error("is given, but suite = \"none\" is plain RTP", "remove the key, or name its suite");
        }
        return Some(Protection::Plain);
    }
    let Ok(suite) = text.parse::<Suite>() else {
        given.error_showing(text, "is not a supported suite", format!("use {}", suites()));
        return None;
    };
    let mut keys = |given: Option<Given<'_, '_>>, role: KeyRole| {
        let name = role.key_name();
        let Some(given) = given else {
            let remedy = format!("add {name} = \"inline:...\", or set suite = \"none\" for plain RTP");
            reader.error(format_args!("{name} is missing"), remedy);
            return None;
        };
        let keys = keys_of(&given, suite)?;
        for (key, line) in keys.iter().zip(key_lines(&given)) {
            if let Err(taken) = world.registry.key(key.fingerprint(), KeyUse { leg: this, role }) {
                let other = world.registry.describe_leg(taken.leg, given.scope.problems);
                let what =
                    format!("is also the {} of {other}, so nonces would repeat", taken.role.key_name());
                Given { line, ..given }.error(what, "generate a fresh key for each");
            }
        }
        Some(keys)
    };
    let remote_keys = keys(remote_key, KeyRole::Remote);
    let local_keys = keys(local_key, KeyRole::Local);
    Some(Protection::Srtp { remote_keys: remote_keys?, local_keys: local_keys? })
}

/// The suites there are, for a remedy.
fn suites() -> String {
    let names = Suite::ALL.map(|suite| format!("{:?}", suite.name()));
    format!("{}, or {PLAIN:?} for plain RTP", names.join(", "))
}

/// One key as a string, or several as an array; errors say what is wrong and repeat nothing of a key.
fn keys_of(given: &Given<'_, '_>, suite: Suite) -> Option<MasterKeys> {
    let texts = match &given.node.value {
        Value::String(text) => vec![(&**text, given.line)],
        Value::Array(_) => given.strings("[\"inline:...|1:4\", \"inline:...|2:4\"]"),
        other => {
            let remedy = "write it in quotes, like \"inline:...\"";
            given.wrong_kind(other, "a string or an array of strings", remedy);
            return None;
        }
    };
    let before = given.scope.problems.count();
    let keys = texts.iter().filter_map(|(text, line)| key_of(&Given { line: *line, ..*given }, text, suite));
    let keys: Vec<MasterKey> = keys.collect();
    if given.scope.problems.count() > before || keys.len() < key_lines(given).count() {
        return None;
    }
    let error = match MasterKeys::new(keys) {
        Ok(keys) => return Some(keys),
        Err(error) => error,
    };
    let fresh = "generate a fresh key for each";
    let (number, what, remedy) = match error {
        MasterKeysError::None => (1, "is empty".to_owned(), "give at least one key".to_owned()),
        MasterKeysError::TooMany { actual } => {
            (1, format!("has {actual} keys"), format!("give at most {}, without the oldest", MasterKeys::MAX))
        }
        MasterKeysError::Suite { number, first, .. } => {
            (number, format!("has keys of other suites than {first}"), "use one suite".to_owned())
        }
        MasterKeysError::NoMki { number } => (
            number,
            format!("has several keys, but number {number} has no MKI"),
            "write \"inline:...|VALUE:LENGTH\" for each".to_owned(),
        ),
        MasterKeysError::MkiLength { number, first, len } => (
            number,
            format!("has MKIs of {first} and of {len} bytes"),
            "use one length for all keys of a leg's direction".to_owned(),
        ),
        MasterKeysError::SameMki { number } => (
            number,
            format!("has the MKI of key {number} twice"),
            "give each key an MKI of its own".to_owned(),
        ),
        MasterKeysError::SameKey { number } => {
            (number, format!("has key {number} twice under different MKIs"), fresh.to_owned())
        }
    };
    let line = key_lines(given).nth(number.saturating_sub(1)).unwrap_or(given.line);
    Given { line, ..*given }.error(what, remedy);
    None
}

/// The lines on which the keys of a string or an array stand.
fn key_lines<'g>(given: &'g Given<'_, '_>) -> impl Iterator<Item = u32> + use<'g> {
    let elements = match &given.node.value {
        Value::Array(items) => items.as_slice(),
        _ => std::slice::from_ref(given.node),
    };
    elements.iter().map(|element| element.line)
}

/// The key, or an error that says what is wrong with its form and repeats nothing of it.
fn key_of(given: &Given<'_, '_>, text: &str, suite: Suite) -> Option<MasterKey> {
    let error = match MasterKey::from_sdes_inline(suite, text) {
        Ok(key) => return Some(key),
        Err(error) => error,
    };
    let (key_len, salt_len) = (suite.key_len(), suite.salt_len());
    let length = format!(
        "give base64 of {} bytes: {key_len} of key, then {salt_len} of salt",
        key_len.saturating_add(salt_len)
    );
    let (what, remedy) = match error {
        MasterKeyError::NoInlinePrefix => (
            "does not start with \"inline:\"".to_owned(),
            "write \"inline:\" and the base64 of key and salt".to_owned(),
        ),
        MasterKeyError::SeveralKeys => (
            "holds more than one key in a string".to_owned(),
            "give an array with a string for each, [\"inline:...|1:4\", \"inline:...|2:4\"]".to_owned(),
        ),
        MasterKeyError::Fields => (
            "has more behind the base64 than \"|LIFETIME|MKI:LENGTH\"".to_owned(),
            "give each once and in this order, or leave them out".to_owned(),
        ),
        MasterKeyError::LifetimeForm => (
            "has a lifetime (\"|...\") that is no number".to_owned(),
            "write it like \"|2^31\" or leave it out".to_owned(),
        ),
        MasterKeyError::LifetimeTooLong => (
            "has a lifetime of more than 2^48 packets".to_owned(),
            "leave it out, that means 2^48".to_owned(),
        ),
        MasterKeyError::LifetimeTooShort => (
            "has a lifetime of less than 2^20 packets, which is not supported".to_owned(),
            "agree on a longer one, and change the key when it is time".to_owned(),
        ),
        MasterKeyError::Mki(MkiError::Form) => (
            "has an MKI that is not \"|VALUE:LENGTH\"".to_owned(),
            "write both as decimal numbers, like \"|1:4\"".to_owned(),
        ),
        MasterKeyError::Mki(MkiError::Length) => (
            format!("has an MKI whose length is not 1 to {} bytes", Mki::MAX_LEN),
            "use a shorter MKI at both ends".to_owned(),
        ),
        MasterKeyError::Mki(MkiError::Value) => (
            "has an MKI whose value does not fit its length".to_owned(),
            "give the length in bytes that packets carry".to_owned(),
        ),
        MasterKeyError::NotBase64 { at } => {
            (format!("is not base64 at character {} after \"inline:\"", at.saturating_add(1)), length)
        }
        MasterKeyError::InlineLength { actual, .. } => {
            (format!("has {actual} bytes, but {suite} needs {}", key_len.saturating_add(salt_len)), length)
        }
        MasterKeyError::KeyLength { actual, .. } => (format!("has {actual} bytes of key"), length),
        MasterKeyError::SaltLength { actual, .. } => (format!("has {actual} bytes of salt"), length),
    };
    given.error(what, remedy);
    None
}

fn address_of<'n>(given: &Given<'n, '_>) -> Option<(&'n str, SocketAddr)> {
    let text = given.string("10.1.0.1:20000")?;
    let address = socket_address(text);
    if address.is_none() {
        given.error_showing(text, "is not an address with a port", ADDRESS_FORM);
    }
    Some((text, address?))
}

fn describe_taken(world: &World<'_>, given: &Given<'_, '_>, taken: EndpointUse) -> impl fmt::Display {
    let other = world.registry.describe_leg(taken.leg, given.scope.problems);
    format!("is already the {} port of {other}", taken.protocol)
}

/// A few of the gateway's own addresses, for a remedy.
fn own_addresses(world: &World<'_>) -> String {
    const SHOWN: usize = 6;
    let all = || world.ports.iter().flat_map(|port| &port.addresses);
    let list: Vec<String> = all().take(SHOWN).map(|net| net.address().to_string()).collect();
    let more = if all().count() > SHOWN { " ..." } else { "" };
    format!("{}{more}", list.join(" or "))
}

/// `did you mean "mux"?`, or all there is to choose from.
pub(super) fn choose(text: &str, choices: &[&'static str]) -> String {
    match closest(text, choices) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!(
            "use {}",
            choices.iter().map(|choice| format!("{choice:?}")).collect::<Vec<_>>().join(" or ")
        ),
    }
}

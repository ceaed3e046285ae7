//! What a leg negotiated, shared by all streams that negotiated the same.
//!
//! Legs of a platform are much alike, so a stream holds a number of two octets and the worker a table of what it
//! stands for, which stays in its first-level cache. Control finds equal profiles and sends new ones to the worker
//! before the first stream that uses them.
//!
//! A [`Profile`] is what the inspect stage holds a packet against. Its first cache line leads from a payload type to a
//! rule, four bits for each of the 128; the rules follow, four to a line.

use super::stream::PayloadRules;
use crate::codec::telephone_event::{self, Events};
use crate::reframe::{AacConfig, Reframe};

/// What the payload of a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Negotiated by its number alone: the payload is not looked into.
    Any,
    /// RFC 6716, RFC 7587.
    Opus,
    /// AAC as whole ADTS frames.
    Adts,
    /// AAC as access units, mode AAC-hbr (RFC 3640).
    Rfc3640,
    /// µ-law (RFC 3551 §4.5.14).
    Pcmu,
    /// A-law (RFC 3551 §4.5.14).
    Pcma,
    /// RFC 3551 §4.5.2.
    G722,
    /// Linear, 16 bits (RFC 3551 §4.5.11).
    L16,
    /// RFC 4733.
    TelephoneEvent,
    /// RFC 3389.
    ComfortNoise,
}

/// What one payload type of a leg stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Rule {
    /// The payload's format.
    pub codec: Codec,
    /// Channels, 1 or more.
    pub channels: u8,
    /// The payload type under which packets leave on the other leg.
    pub outbound: u8,
    /// How the payload changes on the way.
    pub reframe: Reframe,
    /// How long an access unit plays in ticks, of AAC; else 0.
    pub unit_ticks: u16,
    /// The shortest packet in ticks of the clock.
    pub min_ticks: u16,
    /// The longest packet in ticks of the clock.
    pub max_ticks: u16,
    /// What ADTS headers say, of a payload that changes its form.
    pub aac: AacConfig,
    /// RTP clock in Hz.
    pub clock_rate: u32,
}

/// What becomes of packets that break the rules of framing and codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Strictness {
    /// They are dropped.
    #[default]
    Enforce,
    /// They are counted and forwarded.
    Count,
}

/// What becomes of a header extension element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionRule {
    /// It stays as it is.
    Pass,
    /// It stays, under another identifier.
    Map(u8),
    /// It does not reach the other leg.
    Remove,
}

/// What one leg negotiated.
#[derive(Clone, PartialEq, Eq, Hash)]
#[repr(C, align(64))]
pub struct Profile {
    /// By payload type, two to an octet, the even one in the low bits: which rule, [`REFUSED`] or [`UNCHECKED`].
    index: [u8; 64],
    rules: [Rule; Profile::MAX_RULES],
    /// By identifier, 1 to 14: what it becomes, 0 where it is removed. Without meaning unless `lists_extensions`.
    extensions: [u8; 15],
    lists_extensions: bool,
    /// The telephone events that the leg may send.
    events: Events,
    strictness: Strictness,
    reduced_size_rtcp: bool,
    /// [`Profile::rewrites`].
    rewrites: bool,
    /// Of `rules`, those in use.
    used: u8,
}

const _: () = assert!(size_of::<Rule>() == 16);
const _: () = assert!(size_of::<Profile>() == 6 * 64);

const REFUSED: u8 = 0;
const UNCHECKED: u8 = 15;

impl Rule {
    /// A type whose payload is not looked into.
    pub const UNCHECKED: Rule = Rule {
        codec: Codec::Any,
        channels: 1,
        outbound: 0,
        reframe: Reframe::None,
        unit_ticks: 0,
        min_ticks: 0,
        max_ticks: u16::MAX,
        aac: AacConfig::NONE,
        clock_rate: 0,
    };
}

impl Profile {
    /// The most payload types that have a rule of their own. Those that are [unchecked](Profile::accept) have none.
    pub const MAX_RULES: usize = 14;

    /// Different ones that a worker's streams can have.
    pub const MOST: usize = 1024;

    /// A leg that negotiated nothing.
    pub const NOTHING: Self = Profile {
        index: [0; 64],
        rules: [Rule::UNCHECKED; Self::MAX_RULES],
        extensions: [0; 15],
        lists_extensions: false,
        events: telephone_event::DTMF,
        strictness: Strictness::Enforce,
        reduced_size_rtcp: false,
        rewrites: false,
        used: 0,
    };

    /// Takes packets of `payload_type` (0 to 127; others are ignored) that has no rule, whatever they hold; they leave under
    /// the same.
    pub fn accept(&mut self, payload_type: u8) {
        self.set_index(payload_type, UNCHECKED);
    }

    /// Holds packets of `payload_type` against `rule`. `false` where there are [`Profile::MAX_RULES`] already.
    pub fn set_rule(&mut self, payload_type: u8, rule: Rule) -> bool {
        let number = match self.number(payload_type) {
            REFUSED | UNCHECKED => self.used + 1,
            number => number,
        };
        let Some(place) = self.rules.get_mut(usize::from(number) - 1) else { return false };
        *place = rule;
        self.used = self.used.max(number);
        self.set_index(payload_type, number);
        self.rewrites |= rule.outbound != payload_type || rule.reframe != Reframe::None;
        true
    }

    /// Takes these header extensions alone: each identifier (1 to 14; others are ignored) with what it becomes.
    pub fn set_extensions(&mut self, ids: impl IntoIterator<Item = (u8, u8)>) {
        self.lists_extensions = true;
        self.rewrites = true;
        self.extensions = [0; 15];
        for (id, outbound) in ids {
            if id > 0
                && let Some(place) = self.extensions.get_mut(usize::from(id))
            {
                *place = outbound;
            }
        }
    }

    /// Sets the telephone events that the leg may send.
    pub fn set_events(&mut self, events: Events) {
        self.events = events;
    }

    /// Sets what becomes of packets that break the rules of framing and codec.
    pub fn set_strictness(&mut self, strictness: Strictness) {
        self.strictness = strictness;
    }

    /// Sets whether RTCP packets need not begin with a report (RFC 5506).
    pub fn set_reduced_size_rtcp(&mut self, allowed: bool) {
        self.reduced_size_rtcp = allowed;
    }

    /// The rule of a payload type; `None` if it was not negotiated. An unchecked one has [`Rule::UNCHECKED`], whose
    /// outbound type is not its own: see [`Profile::outbound`].
    #[inline(always)]
    pub fn rule(&self, payload_type: u8) -> Option<&Rule> {
        match self.number(payload_type) {
            REFUSED => None,
            UNCHECKED => Some(&const { Rule::UNCHECKED }),
            number => self.rules.get(usize::from(number) - 1),
        }
    }

    /// The payload type under which packets of `payload_type` leave on the other leg.
    #[inline]
    pub fn outbound(&self, payload_type: u8) -> u8 {
        match self.number(payload_type) {
            REFUSED | UNCHECKED => payload_type,
            number => self.rules.get(usize::from(number) - 1).map_or(payload_type, |rule| rule.outbound),
        }
    }

    /// Whether packets of `payload_type` were negotiated.
    #[inline(always)]
    pub fn accepts(&self, payload_type: u8) -> bool {
        self.number(payload_type) != REFUSED
    }

    /// What becomes of the header extension element with identifier `id`. An identifier beyond 14, which two-byte
    /// elements may have, is not negotiable here and goes with the list.
    #[inline]
    pub fn extension(&self, id: u8) -> ExtensionRule {
        if !self.lists_extensions {
            return ExtensionRule::Pass;
        }
        match self.extensions.get(usize::from(id)) {
            None | Some(0) => ExtensionRule::Remove,
            Some(&outbound) if outbound == id => ExtensionRule::Pass,
            Some(&outbound) => ExtensionRule::Map(outbound),
        }
    }

    /// Whether there are rules for header extensions: without any, all pass.
    #[inline(always)]
    pub fn lists_extensions(&self) -> bool {
        self.lists_extensions
    }

    /// Whether a packet may leave otherwise than it came: another payload type, another form, other extensions.
    #[inline(always)]
    pub fn rewrites(&self) -> bool {
        self.rewrites
    }

    /// The telephone events that the leg may send.
    #[inline]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// What becomes of packets that break the rules of framing and codec.
    #[inline]
    pub fn strictness(&self) -> Strictness {
        self.strictness
    }

    /// Whether RTCP packets need not begin with a report (RFC 5506).
    #[inline]
    pub fn reduced_size_rtcp(&self) -> bool {
        self.reduced_size_rtcp
    }

    #[inline(always)]
    fn number(&self, payload_type: u8) -> u8 {
        let pair = self.index.get(usize::from(payload_type >> 1 & 63)).copied().unwrap_or(0);
        pair >> ((payload_type & 1) * 4) & 0x0f
    }

    fn set_index(&mut self, payload_type: u8, number: u8) {
        if let Some(pair) = self.index.get_mut(usize::from(payload_type >> 1)) {
            let shift = (payload_type & 1) * 4;
            *pair = *pair & !(0x0f << shift) | number << shift;
        }
    }
}

/// Payload types by their numbers alone.
impl From<PayloadRules> for Profile {
    fn from(rules: PayloadRules) -> Self {
        let mut profile = Profile { reduced_size_rtcp: rules.reduced_size_rtcp, ..Profile::NOTHING };
        (0..128)
            .filter(|&payload_type| rules.accepts(payload_type))
            .for_each(|number| profile.accept(number));
        profile
    }
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let types = (0..128_u8).filter_map(|number| Some((number, self.rule(number)?)));
        let unchecked: Vec<u8> =
            types.clone().filter(|(_, rule)| rule.codec == Codec::Any).map(|(number, _)| number).collect();
        let rules: Vec<_> = types.filter(|(_, rule)| rule.codec != Codec::Any).collect();
        f.debug_struct("Profile")
            .field("rules", &rules)
            .field("unchecked", &unchecked)
            .field("extensions", &self.lists_extensions.then_some(self.extensions))
            .field("strictness", &self.strictness)
            .field("reduced_size_rtcp", &self.reduced_size_rtcp)
            .finish_non_exhaustive()
    }
}

/// Position in a worker's table of [`Profile`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProfileId(pub u16);

/// The profiles of one worker.
#[derive(Debug)]
pub(crate) struct Profiles {
    table: Box<[Profile]>,
    /// Those that [`Profiles::intern`] has handed out.
    used: usize,
}

impl Profiles {
    pub(crate) fn new() -> Self {
        Profiles { table: vec![Profile::NOTHING; Profile::MOST].into(), used: 0 }
    }

    #[inline(always)]
    pub(crate) fn get(&self, id: ProfileId) -> Option<&Profile> {
        self.table.get(usize::from(id.0))
    }

    /// Puts `profile` in the place of what `id` stood for.
    pub(crate) fn swap(&mut self, id: ProfileId, profile: &mut Profile) {
        if let Some(place) = self.table.get_mut(usize::from(id.0)) {
            std::mem::swap(place, profile);
        }
    }

    /// The number of `profile`, which is a new one if there is no equal yet; `None` when the table is full. For
    /// tables that no control thread fills.
    pub(crate) fn intern(&mut self, profile: &Profile) -> Option<ProfileId> {
        let known = self.table.iter().take(self.used).position(|known| known == profile);
        if let Some(known) = known {
            return Some(ProfileId(known as u16));
        }
        let place = self.table.get_mut(self.used)?;
        *place = profile.clone();
        self.used += 1;
        Some(ProfileId(self.used as u16 - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPUS: Rule = Rule {
        codec: Codec::Opus,
        channels: 2,
        outbound: 96,
        min_ticks: 120,
        max_ticks: 5_760,
        clock_rate: 48_000,
        ..Rule::UNCHECKED
    };

    #[test]
    fn each_type_leads_to_its_own_rule() {
        for payload_type in 0..128 {
            let mut profile = Profile::NOTHING;
            assert!((0..=255).all(|number| !profile.accepts(number)));
            profile.accept(payload_type);
            assert_eq!(profile.rule(payload_type), Some(&Rule::UNCHECKED));
            assert_eq!(profile.outbound(payload_type), payload_type);
            assert!(!profile.rewrites());
            assert!(profile.set_rule(payload_type, OPUS));
            assert_eq!((profile.rule(payload_type), profile.outbound(payload_type)), (Some(&OPUS), 96));
            assert_eq!((0..128).filter(|&number| profile.accepts(number)).count(), 1);
            assert_eq!(profile.rewrites(), payload_type != 96);
        }
    }

    #[test]
    fn there_are_as_many_rules_as_it_says_and_no_more() {
        let mut profile = Profile::NOTHING;
        for payload_type in 0..Profile::MAX_RULES as u8 {
            assert!(profile.set_rule(payload_type, Rule { outbound: payload_type + 50, ..OPUS }));
        }
        let full = profile.clone();
        assert!(!profile.set_rule(127, OPUS));
        assert_eq!(profile, full);
        // One that has a rule may get another.
        assert!(profile.set_rule(13, Rule { outbound: 1, ..OPUS }));
        profile.accept(127);
        let outbound = |payload_type| profile.outbound(payload_type);
        assert_eq!((outbound(0), outbound(12), outbound(13), outbound(127)), (50, 62, 1, 127));
    }

    #[test]
    fn listed_extensions_pass_or_change_and_others_go() {
        let mut profile = Profile::NOTHING;
        assert!((0..=255).all(|id| profile.extension(id) == ExtensionRule::Pass));
        profile.set_extensions([(1, 1), (5, 2), (14, 14), (0, 9), (15, 3), (200, 4)]);
        for id in 0..=255 {
            let expected = match id {
                1 | 14 => ExtensionRule::Pass,
                5 => ExtensionRule::Map(2),
                _ => ExtensionRule::Remove,
            };
            assert_eq!(profile.extension(id), expected, "{id}");
        }
        assert!(profile.rewrites());
    }

    #[test]
    fn equal_profiles_are_one_and_a_full_table_says_so() {
        let mut profiles = Profiles::new();
        let profile = |number: u32| {
            let mut profile = Profile::NOTHING;
            profile.set_rule(96, Rule { clock_rate: number, ..OPUS });
            profile
        };
        for number in 0..Profile::MOST as u32 {
            assert_eq!(profiles.intern(&profile(number)), Some(ProfileId(number as u16)));
        }
        assert_eq!(profiles.intern(&profile(7)), Some(ProfileId(7)));
        assert_eq!(profiles.intern(&profile(9_999)), None);
        let mut other = profile(9_999);
        profiles.swap(ProfileId(7), &mut other);
        assert_eq!((profiles.get(ProfileId(7)), &other), (Some(&profile(9_999)), &profile(7)));
    }
}

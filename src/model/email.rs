//! What an e-mail address is, and its canonical form: one for all the ways to write the address of one mailbox.

use email_address::{EmailAddress, Options};
use unicode_normalization::UnicodeNormalization;

/// The longest address, in characters (RFC 5321, 4.5.3.1.3).
pub const CHARACTERS_MAX: usize = 254;
/// The longest label of a domain, in bytes (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// A provider that delivers differently written addresses to the same mailbox.
struct Provider {
    /// The domains that behave so.
    domains: &'static [&'static str],
    /// Whether a name at any of these domains is the same mailbox; it is then written with the first of them.
    is_one: bool,
    /// What begins a tag, which the delivery ignores.
    tag: char,
    /// Characters that the delivery ignores.
    ignored: &'static [char],
}

/// Only what providers document for all mailboxes of a domain. Companies whose own domain such a provider hosts are not
/// here: nobody can see that of an address.
const PROVIDERS: [Provider; 6] = [
    Provider { domains: &["gmail.com", "googlemail.com"], is_one: true, tag: '+', ignored: &['.'] },
    Provider {
        domains: &["outlook.com", "hotmail.com", "live.com", "msn.com"],
        is_one: false,
        tag: '+',
        ignored: &[],
    },
    Provider { domains: &["icloud.com", "me.com", "mac.com"], is_one: true, tag: '+', ignored: &[] },
    Provider { domains: &["fastmail.com", "fastmail.fm"], is_one: false, tag: '+', ignored: &[] },
    Provider {
        domains: &["proton.me", "protonmail.com", "protonmail.ch", "pm.me"],
        is_one: false,
        tag: '+',
        ignored: &['.', '-', '_'],
    },
    // A disposable address is a name, a hyphen and a word; no user's own name has a hyphen.
    Provider {
        domains: &["yahoo.com", "ymail.com", "rocketmail.com"],
        is_one: false,
        tag: '-',
        ignored: &[],
    },
];

/// Whether `text` is a bare e-mail address, like those that accounts may have. With display names
/// (`Ada <ada@shop.example>`) one address could count as many. Earlier versions took such addresses without a domain
/// (`ada@localhost`), so this is the rule for looking accounts up; `canonical` has the rule for new ones.
pub fn is_address(text: &str) -> bool {
    text.chars().count() <= CHARACTERS_MAX
        && EmailAddress::parse_with_options(text, Options::default().without_display_text()).is_ok()
}

/// The canonical form of an address: lower case, NFC, the domain in ASCII (UTS 46), and without what the mailbox's
/// provider ignores. It only identifies the mailbox; mail goes to the address as its owner wrote it. `None` if the
/// address is no mailbox on the internet: without a domain, with the address of a host, or with a quoted name, which
/// could be written in many ways.
pub fn canonical(address: &str) -> Option<String> {
    let address: String = address.nfc().collect::<String>().to_lowercase().nfc().collect();
    if !is_address(&address) || address.starts_with('"') {
        return None;
    }
    let (name, domain) = address.rsplit_once('@')?;
    let domain = ascii_domain(domain)?;
    let canonical = match PROVIDERS.iter().find(|provider| provider.domains.contains(&domain.as_str())) {
        Some(provider) => {
            let domain = if provider.is_one { provider.domains[0] } else { &domain };
            format!("{}@{domain}", provider.mailbox(name))
        }
        None => format!("{name}@{domain}"),
    };
    (canonical.chars().count() <= CHARACTERS_MAX).then_some(canonical)
}

/// The domain in ASCII, if it has a dot and is not the address of a host.
fn ascii_domain(domain: &str) -> Option<String> {
    // The parser is that of URLs, where a `%` begins an escape.
    if domain.contains('%') {
        return None;
    }
    let Ok(url::Host::Domain(domain)) = url::Host::parse(domain) else { return None };
    let mut labels = domain.split('.');
    let are_good = labels.clone().all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()));
    (are_good && labels.nth(1).is_some()).then_some(domain)
}

impl Provider {
    /// The name without what is ignored, as long as something of it is left.
    fn mailbox(&self, name: &str) -> String {
        // No name ends with a dot.
        let untagged = name.split(self.tag).next().map(|untagged| untagged.trim_end_matches('.'));
        let untagged = untagged.filter(|untagged| !untagged.is_empty()).unwrap_or(name);
        let mailbox = untagged.replace(self.ignored, "");
        if mailbox.is_empty() { untagged.to_owned() } else { mailbox }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn an_address_stands_alone() {
        let long = |domain: usize| {
            let label = "a".repeat(63);
            let rest = "a".repeat(domain - 2 * 64);
            format!("{}@{label}.{label}.{rest}", "a".repeat(64))
        };
        for good in ["ada@shop.example", "ada+sale@shop.example", &long(254 - 65)] {
            assert!(is_address(good) && canonical(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "ada",
            "@shop.example",
            "Ada <ada@shop.example>",
            "<ada@shop.example>",
            "a\n\u{0}\u{202e} <ada@shop.example>",
            "ada@shop.example, eve@shop.example",
            "ada @shop.example",
            &long(255 - 65),
        ] {
            assert!(!is_address(bad) && canonical(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_without_a_domain_is_none() {
        assert!(is_address("ada@localhost"), "an account of an earlier version may have it");
        for bad in [
            "ada@localhost",
            "ada@example",
            "ada@127.0.0.1",
            "ada@0x7f.1",
            "ada@[127.0.0.1]",
            "ada@[IPv6:::1]",
            "ada@shop.example.",
            "ada@shop..example",
            "ada@.example",
            "ada@shop%2eexample",
            "ada@xn--a.example",
            "\"ada\"@shop.example",
            "\"a d a\"@shop.example",
        ] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_mailbox_has_one_canonical_form() {
        for (written, expected) in [
            ("Ada@Shop.Example", "ada@shop.example"),
            // Providers that ignore something.
            ("s.c.alper@gmail.com", "scalper@gmail.com"),
            ("scalper+1@gmail.com", "scalper@gmail.com"),
            ("S.Calper+1+2@GoogleMail.com", "scalper@gmail.com"),
            ("scalper+1@outlook.com", "scalper@outlook.com"),
            ("scalper+1@hotmail.com", "scalper@hotmail.com"),
            ("scalper+1@live.com", "scalper@live.com"),
            ("scalper+1@me.com", "scalper@icloud.com"),
            ("scalper@mac.com", "scalper@icloud.com"),
            ("scalper+1@fastmail.com", "scalper@fastmail.com"),
            ("s.calp-e_r+1@proton.me", "scalper@proton.me"),
            ("scalper-1@yahoo.com", "scalper@yahoo.com"),
            // What others deliver to different people.
            ("s.calper@outlook.com", "s.calper@outlook.com"),
            ("s.calper@icloud.com", "s.calper@icloud.com"),
            ("s.calper+1@yahoo.com", "s.calper+1@yahoo.com"),
            ("s.calper+1@shop.example", "s.calper+1@shop.example"),
            ("scalper+1@gmail.com.shop.example", "scalper+1@gmail.com.shop.example"),
            // Nothing of the name would be left.
            ("+1@gmail.com", "+1@gmail.com"),
            ("ada.+1@outlook.com", "ada@outlook.com"),
            ("-_@proton.me", "-_@proton.me"),
            // The domain in ASCII, the name composed.
            ("ada@m\u{fc}nchen.example", "ada@xn--mnchen-3ya.example"),
            ("ada@mu\u{308}nchen.example", "ada@xn--mnchen-3ya.example"),
            ("ada@XN--MNCHEN-3YA.example", "ada@xn--mnchen-3ya.example"),
            ("ada@\u{ff53}hop.example", "ada@shop.example"),
            ("ad\u{e4}@shop.example", "ad\u{e4}@shop.example"),
            ("ada\u{308}@shop.example", "ad\u{e4}@shop.example"),
        ] {
            assert_eq!(canonical(written).as_deref(), Some(expected), "{written}");
        }
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof!["[a-zA-Z0-9._+-]{1,20}", "[a-cäöüÄßİſ\u{308}._+-]{1,10}", "\\PC{1,10}"]
    }

    fn domain() -> impl Strategy<Value = String> {
        let listed = PROVIDERS.iter().flat_map(|provider| provider.domains).map(|name| (*name).to_owned());
        prop_oneof![
            select(listed.collect::<Vec<_>>()),
            "[a-zA-Z0-9äöüß-]{1,10}\\.[a-z]{2,5}",
            "\\PC{1,10}\\.[a-z]{2,5}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

        #[test]
        fn the_canonical_form_is_its_own(name in name(), domain in domain()) {
            if let Some(form) = canonical(&format!("{name}@{domain}")) {
                prop_assert_eq!(canonical(&form), Some(form));
            }
        }

        #[test]
        fn only_listed_domains_become_one(name in "[a-z]{1,10}", one in domain(), other in domain()) {
            if let (Some(one), Some(other)) = (ascii_domain(&one), ascii_domain(&other)) {
                let forms = [&one, &other].map(|domain| canonical(&format!("{name}@{domain}")));
                let are_one = |provider: &Provider| {
                    provider.is_one && [&one, &other].iter().all(|name| provider.domains.contains(&name.as_str()))
                };
                let are_one = one == other || PROVIDERS.iter().any(are_one);
                if forms.iter().all(Option::is_some) {
                    prop_assert_eq!(forms[0] == forms[1], are_one, "{:?}", forms);
                }
            }
        }

        #[test]
        fn names_that_nobody_ignores_stay_apart(one in "[a-z]{1,3}", other in "[a-z]{1,3}", domain in domain()) {
            let forms = [&one, &other].map(|name| canonical(&format!("{name}@{domain}")));
            if forms.iter().all(Option::is_some) {
                prop_assert_eq!(forms[0] == forms[1], one == other);
            }
        }
    }
}

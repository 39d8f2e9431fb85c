//! The metrics as Prometheus' own conventions have them.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Shop, sneaker};
use crate::metrics::metrics;

/// A family of metrics in the format 0.0.4.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    samples: BTreeSet<String>,
}

/// Panics at what is no text of the format 0.0.4: a sample without a family, a family or a sample that comes twice.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut samples = BTreeSet::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            let (name, help) = line.split_once(' ').expect("a help");
            let family = Family { help: help.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} comes twice");
            current = name.to_owned();
        } else if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').expect("a type");
            assert_eq!(name, current, "the type follows the help");
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(sample.to_owned()), "{sample} comes twice");
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{name} in {current}"));
            families.get_mut(&current).unwrap().samples.insert(suffix.to_owned());
        }
    }
    families
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_follow_prometheus_conventions() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    shop.buyer().purchase(&id).await.expect(201);
    let (text, _) = metrics(&shop.visitor(), "text/plain").await;
    let families = families(&text);
    for (name, Family { kind, help, samples }) in &families {
        let words: Vec<_> = name.split('_').collect();
        assert!(name.starts_with("flash_sale_") || name.starts_with("process_"), "{name}: no prefix");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}: characters");
        assert!(help.ends_with('.') && !help.ends_with("..") && help.len() > 10, "{name}: {help}");
        assert_eq!(
            kind == "counter",
            name.ends_with("_total"),
            "{name}: a counter ends with _total, and only a counter"
        );
        for word in ["ms", "milliseconds", "minutes", "kilobytes", "percent", "gauge", "counter", "histogram"]
        {
            assert!(!words.contains(&word), "{name}: {word}");
        }
        for unit in ["seconds", "bytes"] {
            let place = words.iter().position(|word| *word == unit);
            let last = words.len() - usize::from(kind == "counter") - 1;
            assert!(place.is_none_or(|place| place == last), "{name}: the unit comes last");
        }
        let expected = match kind.as_str() {
            "histogram" => &["_bucket", "_count", "_sum"][..],
            "counter" | "gauge" => &[""],
            other => panic!("{name}: {other}"),
        };
        assert!(samples.iter().eq(expected), "{name}: {samples:?}");
        // The samples of a histogram must not have the name of another family.
        for suffix in ["_bucket", "_count", "_sum"] {
            assert!(!name.ends_with(suffix), "{name}: reserved");
            assert!(
                kind != "histogram" || !families.contains_key(&format!("{name}{suffix}")),
                "{name}{suffix}"
            );
        }
    }
    for name in ["process_open_fds", "process_resident_memory_bytes", "process_cpu_seconds_total"] {
        assert_eq!(families.contains_key(name), cfg!(target_os = "linux"), "{name}");
    }
    shop.close().await;
}

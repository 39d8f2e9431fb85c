//! Which of two media types a client prefers (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};

/// Whether the client prefers `wanted` to `usual`, the type that it gets if it does not care.
pub fn prefers(headers: &HeaderMap, wanted: &str, usual: &str) -> bool {
    let values: Vec<_> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<_> = values.iter().flat_map(|value| value.split(',')).filter_map(range).collect();
    let wanted = preference(&ranges, wanted);
    wanted.0 > 0 && wanted > preference(&ranges, usual)
}

/// A media range, and its quality in thousandths; `None` for what makes no sense.
fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let quality = quality.map_or(Some(1.0), |quality| quality.parse::<f32>().ok());
    let quality = quality.filter(|quality| (0.0..=1.0).contains(quality))?;
    // At most 1000.
    Some((name, (quality * 1_000.0).round() as u16))
}

/// The quality of a type by the range that names it most exactly, and how exactly that is.
fn preference(ranges: &[(String, u16)], media_type: &str) -> (u16, u8) {
    let (kind, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let exactness = |range: &str| match range {
        "*/*" => Some(1),
        range if range == media_type => Some(3),
        range if range.strip_suffix("/*") == Some(kind) => Some(2),
        _ => None,
    };
    let matching = ranges.iter().filter_map(|(range, quality)| Some((exactness(range)?, *quality)));
    matching.max().map_or((0, 0), |(exactness, quality)| (quality, exactness))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(accept: &[&'static str], csv: bool) {
        let headers = accept.iter().map(|value| (header::ACCEPT, HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
        assert_eq!(prefers(&headers, "text/csv", "application/json"), csv, "{accept:?}");
    }

    #[test]
    fn the_preferred_type_is_sent() {
        check(&[], false);
        check(&["*/*"], false);
        check(&["text/csv"], true);
        check(&["Text/CSV; header=present"], true);
        check(&["text/*"], true);
        check(&["text/csv, */*"], true);
        check(&["text/csv, application/json"], false);
        check(&["application/json, text/csv;q=0.9"], false);
        check(&["application/json;q=0.8", "text/csv;q=0.9"], true);
        check(&["text/csv;q=0"], false);
        check(&["text/csv;q=0, */*"], false);
        check(&["text/html,application/xhtml+xml,*/*;q=0.8"], false);
        check(&["text/csv;q=2", "text/csv;q=x"], false);
        check(&["image/png"], false);
    }
}

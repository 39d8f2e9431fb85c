//! Which of several media types a client prefers: the header `Accept` (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};

/// Whether the client prefers `wanted` to `usual`, the type that it gets if it does not care. Of two types that it wants as
/// much, it prefers the one that it names more precisely.
pub fn prefers(headers: &HeaderMap, wanted: &str, usual: &str) -> bool {
    let wanted = preference(headers, wanted, &[]);
    wanted.0 > 0 && wanted > preference(headers, usual, &[])
}

/// How much the client wants a media type, in thousandths; 0 if it does not take it, or names none. Of the ranges that match,
/// the most precise one counts. `parameters` are those of our type: a range that names another value does not match it,
/// parameters of which we know nothing are no obstacle.
pub fn quality(headers: &HeaderMap, media_type: &str, parameters: &[(&str, &str)]) -> u16 {
    preference(headers, media_type, parameters).0
}

/// The quality of a type, and how precisely the range names it that says so.
fn preference(headers: &HeaderMap, media_type: &str, parameters: &[(&str, &str)]) -> (u16, usize) {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(','));
    let matching = ranges.filter_map(|range| matched(range, media_type, parameters));
    matching
        .max_by_key(|(precision, _)| *precision)
        .map_or((0, 0), |(precision, quality)| (quality, precision))
}

/// How precisely the range names the type, and its quality; `None` if it does not match.
fn matched(range: &str, media_type: &str, parameters: &[(&str, &str)]) -> Option<(usize, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?;
    let (kind, _) = media_type.split_once('/')?;
    let mut precision = match name.split_once('/')? {
        _ if name.eq_ignore_ascii_case(media_type) => 2,
        (range, "*") if range.eq_ignore_ascii_case(kind) => 1,
        ("*", "*") => 0,
        _ => return None,
    };
    let mut quality = 1_000;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("q") {
            let share: f32 = value.parse().ok().filter(|share| (0.0..=1.0).contains(share))?;
            // The cast is exact: three digits at most count.
            quality = (share * 1_000.0).round() as u16;
        } else if let Some((_, ours)) = parameters.iter().find(|(ours, _)| name.eq_ignore_ascii_case(ours)) {
            if !value.eq_ignore_ascii_case(ours) {
                return None;
            }
            precision += 1;
        }
    }
    Some((precision, quality))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check_csv(accept: &[&'static str], csv: bool) {
        let headers = accept.iter().map(|value| (header::ACCEPT, HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
        assert_eq!(prefers(&headers, "text/csv", "application/json"), csv, "{accept:?}");
    }

    #[test]
    fn the_preferred_type_is_sent() {
        check_csv(&[], false);
        check_csv(&["*/*"], false);
        check_csv(&["text/csv"], true);
        check_csv(&["Text/CSV; header=present"], true);
        check_csv(&["text/*"], true);
        check_csv(&["text/csv, */*"], true);
        check_csv(&["text/csv, application/json"], false);
        check_csv(&["application/json, text/csv;q=0.9"], false);
        check_csv(&["application/json;q=0.8", "text/csv;q=0.9"], true);
        check_csv(&["text/csv;q=0"], false);
        check_csv(&["text/csv;q=0, */*"], false);
        check_csv(&["text/html,application/xhtml+xml,*/*;q=0.8"], false);
        check_csv(&["text/csv;q=2", "text/csv;q=x"], false);
        check_csv(&["image/png"], false);
    }

    fn check(accept: &str, expected: u16) {
        let headers = [(header::ACCEPT, HeaderValue::from_str(accept).unwrap())].into_iter().collect();
        let quality = quality(&headers, "text/plain", &[("version", "0.0.4")]);
        assert_eq!(quality, expected, "{accept}");
    }

    #[test]
    fn the_most_precise_range_counts() {
        check("text/plain", 1_000);
        check("TEXT/Plain; Charset=utf-8", 1_000);
        check("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", 500);
        check("text/plain; version=\"0.0.4\" ; q=0.25", 250);
        check("*/*;q=0.1, text/*;q=0.2, text/plain;q=0.3", 300);
        check("text/plain;q=0.3, text/plain;version=0.0.4;q=0.7", 700);
        check("text/plain;version=1.0.0, */*;q=0.1", 100);
        check("text/plain;q=0, */*", 0);
        check("application/json", 0);
        check("text/html;version=0.0.4", 0);
        check("", 0);
    }

    #[test]
    fn nonsense_matches_nothing() {
        for accept in
            ["text/plain;q=2", "text/plain;q=NaN", "text/plain;q=-1", "text", "*", ",;,=", "*/plain"]
        {
            check(accept, 0);
        }
    }

    #[test]
    fn several_headers_count_as_one() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT, HeaderValue::from_static("text/html"));
        headers.append(header::ACCEPT, HeaderValue::from_static("text/plain;q=0.4"));
        assert_eq!(quality(&headers, "text/plain", &[]), 400);
    }
}

//! The two text formats of `/metrics`. prometheus-client writes OpenMetrics; programs that do not know it ask for the
//! older format 0.0.4, in which a counter's help and type have the name of its sample.

/// Which format to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// Prometheus' own, 0.0.4: everything that reads metrics understands it.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl TextFormat {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Turns OpenMetrics text into the format 0.0.4.
pub fn as_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            // Its name depends on the type, which comes next.
            help = line.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_called_by_its_sample() {
        let open_metrics = "# HELP shop_logins Logins, by outcome.\n# TYPE shop_logins counter\n\
            shop_logins_total{outcome=\"logged_in\"} 1\n\
            # HELP shop_batch_seconds From start to replies.\n# TYPE shop_batch_seconds histogram\n\
            # UNIT shop_batch_seconds seconds\nshop_batch_seconds_sum 0.5\n# EOF\n";
        let prometheus = "# HELP shop_logins_total Logins, by outcome.\n# TYPE shop_logins_total counter\n\
            shop_logins_total{outcome=\"logged_in\"} 1\n\
            # HELP shop_batch_seconds From start to replies.\n# TYPE shop_batch_seconds histogram\n\
            shop_batch_seconds_sum 0.5\n";
        assert_eq!(as_prometheus(open_metrics), prometheus);
    }
}

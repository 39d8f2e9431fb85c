//! The limits that are settings.

use super::{Limits, NETWORK_DAYS_MAX, Quota, Reader};

impl Reader<'_> {
    pub(super) fn limits(&mut self) -> Limits {
        let mut limits = Limits::default();
        for (name, clients_max) in [
            ("CONNECTIONS_PER_ADDRESS_MAX", &mut limits.http.connections_per_address_max),
            ("WATCHERS_PER_ADDRESS_MAX", &mut limits.live.watchers_per_address_max),
        ] {
            *clients_max = self.parsed(name, "a number of clients, at least 1").unwrap_or(*clients_max);
            if *clients_max == 0 {
                self.problem(format!("{name} is 0, but it has to be at least 1"));
            }
        }
        let name = "KEEP_ALIVE_SECONDS";
        if let Some(seconds) = self.parsed::<u64>(name, "a number of seconds, 1 to 3600") {
            match (1..=3_600).contains(&seconds) {
                true => limits.http.header_read_ms_max = seconds * 1_000,
                false => self.problem(format!("{name} is {seconds}, but it has to be 1 to 3600")),
            }
        }
        let clients = &mut limits.clients;
        for (name, quota) in [
            ("REGISTRATIONS_PER_NETWORK", &mut clients.registrations),
            ("LOGINS_PER_NETWORK", &mut clients.logins),
            ("READS_PER_NETWORK", &mut clients.reads),
            ("PURCHASES_PER_ACCOUNT", &mut clients.purchases),
            ("PURCHASES_PER_NETWORK", &mut clients.purchases_of_network),
        ] {
            *quota = self.quota(name, *quota);
        }
        let days = &mut limits.records.network_days;
        *days = self.parsed("NETWORK_DAYS", "a number of days").unwrap_or(*days);
        if *days > NETWORK_DAYS_MAX {
            self.problem(format!("NETWORK_DAYS is {days}, but it has to be at most {NETWORK_DAYS_MAX}"));
        }
        let wait = &mut limits.store.start_wait_seconds_max;
        *wait = self.parsed("MONGO_WAIT_SECONDS", "a number of seconds").unwrap_or(*wait);
        limits
    }

    fn quota(&mut self, name: &str, default: Option<Quota>) -> Option<Quota> {
        const EXPECTED: &str = "like 20/60 (20 requests at once, and 20 more, evenly, in each 60 seconds; at most a day), or off";
        match self.text(name) {
            None => default,
            Some("off") => None,
            Some(_) => self.parsed(name, EXPECTED).or(default),
        }
    }
}

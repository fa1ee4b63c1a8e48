//! How a host and a port are written down.

use std::fmt;

/// Writes `host:port` as people and URLs have it: an IPv6 address in brackets (RFC 3986).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// Name or address, IPv6 without brackets.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_colons_are_bracketed() {
        let write = |host, port| HostPort { host, port }.to_string();
        assert_eq!(write("broker.example", 9092), "broker.example:9092");
        assert_eq!(write("127.0.0.1", 1), "127.0.0.1:1");
        assert_eq!(write("::1", 9092), "[::1]:9092");
    }
}

//! Gets pages from a broker's admin listener: HTTP/1.1, one connection a page.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use crate::cli::connect::Failure;

/// How long the broker may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// An admin listener.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Endpoint {
    address: String,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
        let has_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        if host.is_empty() || host.contains("//") || !has_port {
            return Err(format!("expected HOST:PORT, found {text}"));
        }
        Ok(Self {
            address: text.to_owned(),
        })
    }
}

impl Endpoint {
    /// The text of a page.
    pub(in crate::cli) fn get(&self, path: &str) -> Result<String, Failure> {
        let answer = self.ask(path).map_err(|error| {
            Failure(format!(
                "{path} cannot be read from {}: {error}\n  is a klamm broker running there? name its klamm.admin.listener with --admin HOST:PORT",
                self.address
            ))
        })?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or("");
        if status.split(' ').nth(1) != Some("200") {
            return Err(Failure(format!(
                "{} says {status}: {}",
                self.address,
                body.trim()
            )));
        }
        Ok(body.to_owned())
    }

    fn ask(&self, path: &str) -> std::io::Result<String> {
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for address in self.address.to_socket_addrs()? {
            let stream = match TcpStream::connect_timeout(&address, DEADLINE) {
                Ok(stream) => stream,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            stream.set_read_timeout(Some(DEADLINE))?;
            let host = &self.address;
            // HTTP/1.0: the body ends with the connection, and comes in one piece.
            write!(&stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            if !answer.starts_with("HTTP/") {
                let why = "what listens there does not speak HTTP";
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
            }
            return Ok(answer);
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        assert!("127.0.0.1:9644".parse::<Endpoint>().is_ok());
        for wrong in ["", "9644", ":9644", "a:0", "a:b", "http://a:9644"] {
            let error = wrong.parse::<Endpoint>().expect_err(wrong);
            assert!(error.contains("HOST:PORT"), "{error}");
        }
    }
}

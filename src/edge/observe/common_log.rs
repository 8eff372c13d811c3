//! One request in the Common Log Format of Apache's httpd, which log analysers can read.
//!
//! Pure functions. `ip ident user [day/Mon/year:hour:minute:second zone] "method path protocol" status size`, in local
//! time. Caveat: the path is written as given, so the caller must omit the query string.

use std::fmt;

use jiff::Zoned;

use super::line::push_escaped;

/// The fields of a line.
#[derive(Clone, Debug)]
pub(crate) struct CommonLogEntry<'a> {
    /// The client's address.
    pub ip: &'a str,
    /// The client's identity after RFC 1413, in practice `-`.
    pub ident: &'a str,
    /// The authenticated user, or `-`.
    pub user: &'a str,
    /// When the request came.
    pub time: Zoned,
    /// The request's method.
    pub method: &'a str,
    /// The request's path or the file that was served.
    pub path: &'a str,
    /// The protocol, such as `HTTP/1.1`.
    pub protocol: &'a str,
    /// The answer's status.
    pub status: &'a str,
    /// Bytes in the answer's body; `0` is written as `0`.
    pub size: &'a str,
}

impl fmt::Display for CommonLogEntry<'_> {
    /// Writes the line without its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ip, ident, user, time, method, path, protocol, status, size } = self;
        let time = time.strftime("%d/%b/%Y:%H:%M:%S %z");
        write!(f, "{} {} {} [{time}] ", Escaped(ip), Escaped(ident), Escaped(user))?;
        write!(f, "\"{} {} {}\" ", Escaped(method), Escaped(path), Escaped(protocol))?;
        write!(f, "{} {}", Escaped(status), Escaped(size))
    }
}

/// A field whose characters cannot end the quoted part or the line: `"` and `\` are escaped as httpd does it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        push_escaped(&mut text, &self.0.replace('\\', "\\\\").replace('"', "\\\""));
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(path: &'a str, size: &'a str) -> CommonLogEntry<'a> {
        let time = "2025-05-06T07:08:09[+02:00]".parse().unwrap();
        let (ip, method, protocol) = ("192.0.2.7", "GET", "HTTP/1.1");
        CommonLogEntry { ip, ident: "-", user: "-", time, method, path, protocol, status: "200", size }
    }

    #[test]
    fn a_request_is_one_line_of_the_format() {
        let line = entry("/docs/a.html", "0").to_string();
        assert_eq!("192.0.2.7 - - [06/May/2025:07:08:09 +0200] \"GET /docs/a.html HTTP/1.1\" 200 0", line);
    }

    #[test]
    fn a_path_cannot_end_the_quotes_or_the_line() {
        let line = entry("/a\" 200 1\n\\", "5").to_string();
        assert!(line.ends_with("\"GET /a\\\" 200 1\\n\\\\ HTTP/1.1\" 200 5"), "{line}");
    }
}

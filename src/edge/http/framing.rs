//! Finds where requests begin and end in the bytes of a connection, and the violations there that hyper does not
//! report.
//!
//! Runs on the I/O threads. hyper parses; [`Framing`] reads the same bytes before hyper does, line by line. Promise: a
//! fault is found before hyper has seen the end of the line that contains it, so that nothing behind it is ever taken
//! for a request; how the bytes are cut into pieces makes no difference. A request with a later minor version of
//! HTTP/1 becomes one of HTTP/1.1 (RFC 9110, 2.5). Caveat: faults that hyper reports itself are not looked for;
//! [`Framing`] stops reading there.

use memchr::{memchr, memmem};

/// What hyper is given from a fault on: in none of its states does it get past these bytes.
pub(crate) const STOP: &[u8] = b"\0\n\n\r\0";

/// Longest line that announces a chunk. hyper limits the extensions, but not the zeros before the size.
const MAX_SIZE_LINE: usize = 16 * 1024;

/// Longest head that is kept to recognise the next one by.
const MAX_KNOWN_HEAD: usize = 1024;

/// How a connection of HTTP/2 begins, as far as it takes to distinguish it.
const PREFACE: &[u8] = b"PRI * HTTP/2";

/// Reads along with the bytes of a connection.
#[derive(Debug)]
pub(crate) struct Framing {
    at: At,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    is_head: bool,
    fault: Option<Fault>,
    /// A request line has been read.
    has_begun: bool,
    is_preface: bool,
    known: Option<KnownHead>,
}

/// A head that was read line by line. Most clients send the same headers again and again over a connection, many the
/// same request: to compare them takes a fraction of the time.
#[derive(Debug)]
struct KnownHead {
    /// The head as hyper got it, the empty line included.
    text: Vec<u8>,
    /// Where its headers begin in it.
    headers: usize,
    is_head: bool,
    /// What comes behind it.
    next: At,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The target has a fragment, or a byte that had to be escaped.
    Target(&'static str),
    /// Another major version, by its digit.
    Version(char),
    /// Both `Content-Length` and `Transfer-Encoding`: proxies disagree about which one counts.
    TwoLengths,
    /// A chunk's line or a line behind the last chunk that breaks the grammar.
    Chunk,
}

impl Fault {
    /// The answer's text.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Target(reason) => format!("malformed request: {reason}"),
            Self::Version(major) => format!("HTTP/{major} is not spoken here: use HTTP/1.1"),
            Self::TwoLengths => "malformed request: it has both Content-Length and Transfer-Encoding".to_owned(),
            Self::Chunk => "malformed request: its body is not valid chunked encoding".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// Before a request line.
    Start,
    /// Before a header, or the empty line behind the last one.
    Headers { length: Option<u64>, is_chunked: Option<bool> },
    /// In a body of `Content-Length`.
    Body { left: u64 },
    /// Before the line that announces a chunk.
    Size,
    /// In a chunk or the line end behind it.
    Chunk { left: u64 },
    /// Behind the last chunk.
    Trailers,
    /// hyper stops here by itself, or at the fault.
    Stopped,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            at: At::Start,
            line: Vec::new(),
            is_head: false,
            fault: None,
            has_begun: false,
            is_preface: false,
            known: None,
        }
    }
}

impl Framing {
    /// Reads along with `piece`, which may be changed. `Some` is how many of its bytes hyper may see: there is a fault.
    pub(crate) fn follow(&mut self, piece: &mut [u8]) -> Option<usize> {
        // Where in the piece a request begins, and where its headers do, if its whole head may be in the piece.
        let (mut done, mut request, mut headers) = (0, 0, None);
        while done < piece.len() {
            if matches!(self.at, At::Start) && self.line.is_empty() {
                request = done;
                if let Some(length) = self.known_head(&piece[done..]) {
                    done += length;
                    continue;
                }
            }
            let rest = &mut piece[done..];
            match &mut self.at {
                At::Stopped => return None,
                At::Body { left } | At::Chunk { left } => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    done += taken;
                    *left -= taken as u64;
                    if *left == 0 {
                        self.at = if matches!(self.at, At::Chunk { .. }) { At::Size } else { At::Start };
                    }
                }
                At::Start | At::Headers { .. } | At::Size | At::Trailers => {
                    let is_request_line = matches!(self.at, At::Start) && self.line.is_empty();
                    let end = memchr(b'\n', rest);
                    let part = end.map_or(rest.len(), |end| end + 1);
                    if let Err(fault) = self.read_line(&mut rest[..part], end.is_some()) {
                        self.fault = Some(fault);
                        self.at = At::Stopped;
                        return Some(done + part - 1);
                    }
                    done += part;
                    if !self.line.is_empty() {
                        break; // the piece ends within the line
                    }
                    if !matches!(self.at, At::Headers { .. }) {
                        if let Some(headers) = headers.take() {
                            self.note_head(&piece[request..done], headers - request);
                        }
                    } else if is_request_line && let Some(length) = self.known_headers(&piece[done..]) {
                        done += length;
                    } else {
                        if is_request_line {
                            headers = Some(done);
                        }
                        done += other_headers(&piece[done..]);
                    }
                }
            }
        }
        None
    }

    /// Takes the head at the beginning of `rest` if it is the known one; returns its length.
    fn known_head(&mut self, rest: &[u8]) -> Option<usize> {
        let known = self.known.as_ref().filter(|known| rest.starts_with(&known.text))?;
        (self.at, self.is_head) = (known.next, known.is_head);
        Some(known.text.len())
    }

    /// The same for headers behind a request line that has been read.
    fn known_headers(&mut self, rest: &[u8]) -> Option<usize> {
        let known = self.known.as_ref()?;
        let headers = &known.text[known.headers..];
        if !rest.starts_with(headers) {
            return None;
        }
        self.at = known.next;
        Some(headers.len())
    }

    /// Keeps a head that was read whole, whose headers begin at `headers`.
    fn note_head(&mut self, head: &[u8], headers: usize) {
        if head.len() > MAX_KNOWN_HEAD || matches!(self.at, At::Stopped) {
            return;
        }
        let mut text = self.known.take().map_or_else(Vec::new, |known| known.text);
        text.clear();
        text.extend_from_slice(head);
        self.known = Some(KnownHead { text, headers, is_head: self.is_head, next: self.at });
    }

    /// Reads along no more: what comes is HTTP no longer.
    pub(crate) fn stop(&mut self) {
        self.at = At::Stopped;
    }

    /// Whether a part of a head has been read, and not yet all of it.
    pub(crate) fn is_within_head(&self) -> bool {
        match self.at {
            At::Start => !self.line.is_empty(),
            At::Headers { .. } => true,
            At::Body { .. } | At::Size | At::Chunk { .. } | At::Trailers | At::Stopped => false,
        }
    }

    /// Why hyper was stopped.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether the fault is that the connection begins as one of HTTP/2 does.
    pub(crate) fn is_preface(&self) -> bool {
        self.is_preface
    }

    /// Whether the method of the last request line was HEAD, whose answer has no body.
    pub(crate) fn is_head(&self) -> bool {
        self.is_head
    }

    /// Reads a part of a line, `is_end` if it is the last one; nothing is copied when it is the only one.
    fn read_line(&mut self, part: &mut [u8], is_end: bool) -> Result<(), Fault> {
        if is_end && self.line.is_empty() {
            if matches!(self.at, At::Start) {
                lower_minor_version(part, part.len());
            }
            return self.take(part);
        }
        self.line.extend_from_slice(part);
        if matches!(self.at, At::Start) && lower_minor_version(&mut self.line, part.len()) {
            // It is in this part: a digit that came before has been lowered when it came.
            let known = self.line.len() - part.len();
            part.copy_from_slice(&self.line[known..]);
        }
        if is_end {
            let line = std::mem::take(&mut self.line);
            return self.take(&line);
        }
        if matches!(self.at, At::Start) {
            // hyper does not wait for the rest of the line, either.
            self.is_head = self.line.starts_with(b"HEAD ");
            self.is_preface = !self.has_begun && self.line.starts_with(PREFACE);
            let fresh = &self.line[self.line.len().saturating_sub(part.len() + " HTTP/".len())..];
            if memmem::find(fresh, b" HTTP/").is_some() {
                check_major_version(&self.line)?;
            }
        }
        let is_too_long = matches!(self.at, At::Size) && self.line.len() > MAX_SIZE_LINE;
        if is_too_long { Err(Fault::Chunk) } else { Ok(()) }
    }

    /// Takes a whole line, its end included.
    fn take(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let text = line.strip_suffix(b"\r");
        let has_carriage_return = text.is_some();
        let text = text.unwrap_or(line);
        match self.at {
            At::Start if text.is_empty() => {}
            At::Start => self.at = self.request_line(text)?,
            At::Headers { length, is_chunked } => self.at = header(text, length, is_chunked)?,
            // hyper wants the carriage return here, too.
            At::Size if !has_carriage_return => self.at = At::Stopped,
            At::Size => self.at = chunk_size(text)?,
            // hyper takes such a line and the next ones for one, and what it makes of them is lost.
            At::Trailers if !has_carriage_return => return Err(Fault::Chunk),
            At::Trailers if text.is_empty() => self.at = At::Start,
            At::Trailers | At::Body { .. } | At::Chunk { .. } | At::Stopped => {}
        }
        Ok(())
    }

    fn request_line(&mut self, line: &[u8]) -> Result<At, Fault> {
        self.is_head = line.starts_with(b"HEAD ");
        let Some((words, b" HTTP/1.1" | b" HTTP/1.0")) = line.split_last_chunk::<9>() else {
            self.is_preface = !self.has_begun && line.starts_with(PREFACE);
            return check_major_version(line).map(|()| At::Stopped);
        };
        let Some(first_blank) = words.iter().position(|&byte| byte == b' ') else { return Ok(At::Stopped) };
        self.has_begun = true;
        let target = &words[first_blank + 1..];
        if !has_odd_byte(target) {
            return Ok(At::Headers { length: None, is_chunked: None });
        }
        if target.contains(&b' ') {
            check_major_version(line).map(|()| At::Stopped)
        } else if target.is_ascii() {
            Err(Fault::Target("its target has a fragment"))
        } else {
            Err(Fault::Target("its target has a character beyond ASCII that is not escaped"))
        }
    }
}

/// Eight bytes that are all `byte`.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The top bit of each byte of `word` that is zero.
fn zeros(word: u64) -> u64 {
    const LOW: u64 = all(0x7F);
    !(((word & LOW) + LOW) | word | LOW)
}

/// Whether a target has a `#`, a space or a byte beyond ASCII; looks at eight bytes at a time.
fn has_odd_byte(target: &[u8]) -> bool {
    let is_odd = |word: [u8; 8]| {
        let word = u64::from_le_bytes(word);
        (zeros(word ^ all(b'#')) | zeros(word ^ all(b' ')) | (word & all(0x80))) != 0
    };
    let (words, rest) = target.as_chunks::<8>();
    let mut last = *b"////////";
    last[..rest.len()].copy_from_slice(rest);
    words.iter().any(|word| is_odd(*word)) || is_odd(last)
}

/// How many bytes at the beginning of `rest` are whole header lines of no interest here, as nearly all are.
fn other_headers(rest: &[u8]) -> usize {
    let mut start = 0;
    while !matters(&rest[start..]) {
        let Some(end) = line_end(&rest[start..]) else { break };
        start += end;
    }
    start
}

/// Where the line at the beginning of `rest` ends; by blocks, since for so few bytes to call a search takes longer.
fn line_end(rest: &[u8]) -> Option<usize> {
    let (blocks, _) = rest.as_chunks::<16>();
    // Without an early end, so that the bytes of a block are compared at once.
    let has_end = |block: &&[u8; 16]| block.iter().fold(0, |found, &byte| found | u8::from(byte == b'\n')) != 0;
    let before = blocks.iter().position(|block| has_end(&block)).unwrap_or(blocks.len()) * 16;
    rest[before..].iter().position(|&byte| byte == b'\n').map(|end| before + end + 1)
}

/// True if the line at the beginning of `rest` may be the end of the head or a header that defines where the body ends,
/// or is too short to exclude that.
fn matters(rest: &[u8]) -> bool {
    match rest.first() {
        Some(b'c' | b'C') => rest.get(CONTENT_LENGTH.len()).is_none_or(|&byte| byte == b':'),
        Some(b't' | b'T') => rest.get(TRANSFER_ENCODING.len()).is_none_or(|&byte| byte == b':'),
        first => matches!(first, None | Some(b'\r' | b'\n')),
    }
}

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";

/// Looks at the third word of a request line, or of the beginning of one, which is where hyper finds the version.
fn check_major_version(line: &[u8]) -> Result<(), Fault> {
    let word = line.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    match word.strip_prefix(b"HTTP/") {
        Some([major @ b'0'..=b'9', ..]) if *major != b'1' => Err(Fault::Version(char::from(*major))),
        _ => Ok(()),
    }
}

/// Makes a minor version above 1 that a request line ends with, or may end with, a 1; true if it did and the digit is
/// among the last `fresh` bytes.
fn lower_minor_version(line: &mut [u8], fresh: usize) -> bool {
    let end = line.strip_suffix(b"\n").map_or(line.len(), <[u8]>::len);
    let end = line[..end].strip_suffix(b"\r").map_or(end, <[u8]>::len);
    let [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9'] = &mut line[..end] else {
        return false;
    };
    *minor = b'1';
    end > line.len() - fresh
}

fn header(line: &[u8], length: Option<u64>, is_chunked: Option<bool>) -> Result<At, Fault> {
    if line.is_empty() {
        return Ok(match (length, is_chunked) {
            (None | Some(0), None) => At::Start,
            (Some(left), None) => At::Body { left },
            (_, Some(true)) => At::Size,
            (_, Some(false)) => At::Stopped,
        });
    }
    let value_of = |name: &[u8]| {
        let is_it = line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name);
        is_it.then(|| line[name.len() + 1..].trim_ascii())
    };
    if let Some(value) = value_of(CONTENT_LENGTH) {
        if is_chunked.is_some() {
            return Err(Fault::TwoLengths);
        }
        let given = digits(value);
        let is_clear = given.is_some() && length.is_none_or(|length| given == Some(length));
        return Ok(if is_clear { At::Headers { length: given, is_chunked } } else { At::Stopped });
    }
    if let Some(value) = value_of(TRANSFER_ENCODING) {
        if length.is_some() {
            return Err(Fault::TwoLengths);
        }
        let last = value.rsplit(|&byte| byte == b',').next().unwrap_or_default();
        let is_chunked = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        return Ok(At::Headers { length, is_chunked });
    }
    Ok(At::Headers { length, is_chunked })
}

fn digits(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// `1*HEXDIG *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`, RFC 9112, 7.1.
fn chunk_size(line: &[u8]) -> Result<At, Fault> {
    let (size, extensions) = line.split_at(line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count());
    let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
    let Some(size) = size else { return Ok(At::Stopped) };
    if !are_extensions(extensions) {
        return Err(Fault::Chunk);
    }
    Ok(if size == 0 { At::Trailers } else { At::Chunk { left: size.saturating_add(2) } })
}

fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(behind) = skip_blanks(rest).strip_prefix(b";") else { return false };
        let Some(behind) = skip_token(skip_blanks(behind)) else { return false };
        rest = match skip_blanks(behind).strip_prefix(b"=").map(skip_blanks) {
            None => behind,
            Some(value) => match skip_token(value).or_else(|| skip_quoted(value)) {
                Some(behind) => behind,
                None => return false,
            },
        };
    }
    true
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()..]
}

fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let length = text.iter().take_while(is_token).count();
    (length > 0).then(|| &text[length..])
}

fn skip_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut bytes = text.strip_prefix(b"\"")?.iter();
    let is_text = |byte: u8| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || !byte.is_ascii();
    loop {
        match *bytes.next()? {
            b'"' => return Some(bytes.as_slice()),
            b'\\' if is_text(*bytes.next()?) => {}
            b'\\' => return None,
            byte if is_text(byte) => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What hyper gets to see when the bytes come in pieces of these sizes, and why it is stopped.
    fn seen(sent: &[u8], sizes: &[usize]) -> (Vec<u8>, Option<Fault>) {
        let (mut framing, mut seen, mut rest) = (Framing::default(), Vec::new(), sent);
        for size in sizes.iter().copied().chain(std::iter::repeat(usize::MAX)) {
            let (piece, behind) = rest.split_at(size.clamp(1, rest.len().max(1)).min(rest.len()));
            let mut piece = piece.to_vec();
            if let Some(allowed) = framing.follow(&mut piece) {
                seen.extend_from_slice(&piece[..allowed]);
                break;
            }
            seen.extend_from_slice(&piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        (seen, framing.fault())
    }

    #[test]
    fn what_is_in_order_passes_unchanged() {
        let sent = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\nContent-Length: 17\n\nGET /#a HTTP/1.1\n\r\n\
            POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n11;a=\"b\"\r\nGET /#a HTTP/1.1\n\r\n0\r\nA: b\r\n\r\n\
            GET /b HTTP/1.0\r\n\r\n";
        assert_eq!((sent.to_vec(), None), seen(sent, &[]));
    }

    #[test]
    fn a_fault_stops_hyper_at_the_end_of_its_line() {
        let good = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_vec();
        for (line, fault) in [
            ("GET /#a HTTP/1.1\r", Fault::Target("its target has a fragment")),
            ("GET / HTTP/2.0\r", Fault::Version('2')),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r", Fault::TwoLengths),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0;\r", Fault::Chunk),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b", Fault::Chunk),
        ] {
            let stopped = [&good, line.as_bytes()].concat();
            let sent = [&stopped, b"\r\n\r\n".strip_prefix(b"\r").unwrap(), &good].concat();
            assert_eq!((stopped, Some(fault)), seen(&sent, &[]), "{line}");
        }
    }

    #[test]
    fn a_later_minor_version_becomes_1_1() {
        let expected = b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\n\n".to_vec();
        for size in 1..20 {
            let sent = b"GET / HTTP/1.2\r\n\r\nGET / HTTP/1.9\n\n";
            assert_eq!((expected.clone(), None), seen(sent, &[size; 40]), "{size}");
        }
    }

    #[test]
    fn a_size_line_without_end_is_a_fault() {
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let sent = [head, vec![b'0'; 1 << 20]].concat();
        assert_eq!(Some(Fault::Chunk), seen(&sent, &[1000; 2000]).1);
    }

    #[test]
    fn a_head_that_comes_again_is_known_however_its_request_line_changes() {
        let mut framing = Framing::default();
        for line in ["GET /a HTTP/1.1\r\n", "GET /a HTTP/1.1\r\n", "HEAD /b HTTP/1.1\r\n", "GET /c HTTP/1.1\r\n"] {
            let head = format!("{line}Host: x\r\nContent-Length: 6\r\n\r\n");
            assert_eq!(None, framing.follow(&mut head.clone().into_bytes()));
            assert!(matches!(framing.at, At::Body { left: 6 }), "{framing:?}");
            assert_eq!(line.starts_with("HEAD"), framing.is_head());
            assert_eq!(None, framing.follow(&mut b"GET /#".to_vec()), "it is the body");
        }
        assert!(framing.known.as_ref().is_some_and(|known| known.text.starts_with(b"GET /a")));
        assert_eq!(Some(17), framing.follow(&mut b"GET /a# HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()));
        assert_eq!(Some(Fault::Target("its target has a fragment")), framing.fault());
    }

    proptest! {
        #[test]
        fn heads_that_come_again_make_no_difference(
            requests in prop::collection::vec(prop::sample::select(vec![
                "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /b HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n",
                "GET /#a HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a HTTP/1.3\r\nHost: x\r\n\r\n",
                "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n\r\n", "POST /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
                "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
                "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0;\r\n\r\n",
                "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
            ]), 0..12),
            sizes in prop::collection::vec(1_usize..80, 0..40),
        ) {
            let sent = requests.concat();
            let (mut framing, mut whole) = (seen(sent.as_bytes(), &sizes), seen(sent.as_bytes(), &[]));
            // One byte at a time no head is ever whole, so none is known.
            let mut bytewise = seen(sent.as_bytes(), &vec![1; sent.len()]);
            if let Some(Fault::Chunk) = bytewise.1 {
                // How much of the last line passes may differ.
                for seen in [&mut framing, &mut whole] {
                    seen.0.truncate(bytewise.0.len());
                    bytewise.0.truncate(seen.0.len());
                }
            }
            prop_assert_eq!(&framing, &bytewise);
            prop_assert_eq!(whole, bytewise);
        }

        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            words in prop::collection::vec(prop::sample::select(vec![
                "GET", "HEAD", " ", "/", "#", "HTTP/1.", "1", "2", "\r\n", "\n", "\r", "Content-Length:",
                "Transfer-Encoding:", "chunked", ",", ";", "=", "\"", "\\", "3", "abc", "0", "\u{e9}", "\0",
                "GET / HTTP/1.1\r\n", "Transfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n", "0\r\n",
            ]), 0..40),
            sizes in prop::collection::vec(1_usize..9, 0..60),
        ) {
            let sent = words.concat();
            let (mut whole, mut cut) = (seen(sent.as_bytes(), &[]), seen(sent.as_bytes(), &sizes));
            // A version in the midst of a line, which hyper refuses whatever it is, may look like the end of the line.
            for (seen, _) in [&mut whole, &mut cut] {
                for at in memchr::memmem::find_iter(&seen.clone(), b" HTTP/1.") {
                    if let Some(minor @ b'2'..=b'9') = seen.get_mut(at + 8) {
                        *minor = b'1';
                    }
                }
            }
            if let (Some(Fault::Chunk), Some(Fault::Chunk)) = (whole.1, cut.1) {
                // How much of the last line passes may differ.
                whole.0.truncate(cut.0.len().min(whole.0.len()));
                cut.0.truncate(whole.0.len());
            }
            prop_assert_eq!(whole, cut);
        }
    }
}

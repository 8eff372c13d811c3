//! As what refusals are counted.
//!
//! Pure functions, called on the I/O threads. Promise: each refusal has one of the reasons that the figures know, or
//! none if it depends on what the client knows already: conditions, ranges, and preflights of web pages.

use super::{HeadError, Rejection};
use crate::edge::http::conformance::Violation;
use crate::edge::http::framing::Fault;
use crate::edge::observe::metrics::thread::RefusalReason;

impl Rejection {
    /// As what it is counted.
    pub(crate) fn reason(&self) -> Option<RefusalReason> {
        match self {
            Self::BadRequest(_) | Self::UnsupportedCoding | Self::Invalid(_) => Some(RefusalReason::Malformed),
            Self::Unauthorized(_)
            | Self::KeyRequired
            | Self::ControlRefused
            | Self::ForeignRefused
            | Self::HostRefused
            | Self::PageRefused
            | Self::SessionRefused
            | Self::TooManyWrongKeys { .. } => Some(RefusalReason::WrongKey),
            Self::KeyExpired(_) => Some(RefusalReason::Expired),
            Self::RateExceeded { .. } => Some(RefusalReason::Rate),
            Self::BodyTimeout | Self::BodyTooLarge { .. } => Some(RefusalReason::Limit),
            Self::Overloaded
            | Self::Congested
            | Self::PluginDisabled
            | Self::PluginParked { .. }
            | Self::ShuttingDown
            | Self::FileUnavailable => Some(RefusalReason::Overload),
            Self::NotFound | Self::MethodNotAllowed { .. } | Self::Misdirected => Some(RefusalReason::NotFound),
            Self::PreflightRefused(_)
            | Self::Unreadable
            | Self::PreconditionFailed
            | Self::RangeNotSatisfiable { .. } => None,
        }
    }
}

impl HeadError {
    /// As what it is counted.
    pub(crate) fn reason(&self) -> RefusalReason {
        match self {
            Self::Crowded => RefusalReason::Overload,
            Self::Timeout | Self::TargetTooLong | Self::TooLarge { .. } => RefusalReason::Limit,
            Self::PlainHttp
            | Self::Unparsable(..)
            | Self::Fault(Fault::Version(_) | Fault::Target(_) | Fault::TwoLengths | Fault::Chunk) => {
                RefusalReason::Malformed
            }
        }
    }
}

impl Violation {
    /// As what it is counted.
    pub(crate) fn reason(self) -> RefusalReason {
        if self == Self::TargetSize { RefusalReason::Limit } else { RefusalReason::Malformed }
    }
}

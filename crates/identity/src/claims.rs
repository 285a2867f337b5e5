//! The bytes that are signed: fields one after another, each with its length before it (2 bytes, big-endian).

/// Writes fields.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// `None` when the field is longer than 65,535 bytes.
    pub(crate) fn field(mut self, bytes: &[u8]) -> Option<Self> {
        self.0.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_be_bytes());
        self.0.extend_from_slice(bytes);
        Some(self)
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads fields; each call fails when the bytes end early.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn field(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (field, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(field)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.field()?).ok()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.field()?.try_into().ok()
    }

    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// What is signed: the domain, a zero byte (no domain has one), the fields.
pub(crate) fn message(domain: &str, fields: &[u8]) -> Vec<u8> {
    [domain.as_bytes(), &[0], fields].concat()
}

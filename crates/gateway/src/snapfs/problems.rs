//! What is wrong with a request, in the form that clients know (reference, section 3.1).

use axum::http::StatusCode;
use axum::response::Response;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::reply;

/// Problems that an answer lists.
const MAX_PROBLEMS: usize = 100;
/// Longest input that an answer repeats, bytes.
const MAX_INPUT: usize = 1024;

/// A step to what is wrong.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Name(&'static str),
    Index(usize),
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => s.serialize_str(name),
            Self::Index(index) => s.serialize_u64(*index as u64),
        }
    }
}

#[derive(Debug, Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    loc: Vec<Step>,
    msg: String,
    input: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context>,
}

#[derive(Debug, Serialize)]
struct Context {
    error: String,
}

/// Everything that is wrong with a request.
#[derive(Debug, Default, Serialize)]
pub struct Problems<'a> {
    detail: Vec<Problem<'a>>,
}

impl<'a> Problems<'a> {
    /// True when nothing is.
    pub fn is_empty(&self) -> bool {
        self.detail.is_empty()
    }

    /// True when more would not be listed.
    pub fn is_full(&self) -> bool {
        self.detail.len() >= MAX_PROBLEMS
    }

    /// Adds one; of the type and with the text that `what` says.
    pub fn add(&mut self, what: (&'static str, &'static str), loc: &[Step], input: Option<&'a RawValue>) {
        if self.is_full() {
            return;
        }
        let input = input.filter(|input| input.get().len() <= MAX_INPUT);
        self.detail.push(Problem { r#type: what.0, loc: loc.to_vec(), msg: what.1.to_owned(), input, ctx: None });
    }

    /// One problem.
    pub fn one(what: (&'static str, &'static str), loc: &[Step], input: Option<&'a RawValue>) -> Self {
        let mut problems = Self::default();
        problems.add(what, loc, input);
        problems
    }

    /// Text that is no JSON, from this byte on.
    pub fn syntax(at: usize, error: &str) -> Self {
        let problem = Problem {
            r#type: "json_invalid",
            loc: vec![Step::Name("body"), Step::Index(at)],
            msg: "JSON decode error".to_owned(),
            input: serde_json::from_str("{}").ok(),
            ctx: Some(Context { error: error.to_owned() }),
        };
        Self { detail: vec![problem] }
    }

    /// Text that serde_json does not take.
    pub fn of(text: &str, error: &serde_json::Error) -> Self {
        if text.trim().is_empty() {
            return Self::one(MISSING, &[Step::Name("body")], None);
        }
        let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
        let at = lines.map(str::len).sum::<usize>() + error.column();
        let told = error.to_string();
        Self::syntax(at.min(text.len()), told.split(" at line ").next().unwrap_or_default())
    }

    /// 422.
    pub fn reply(&self) -> Response {
        let body = serde_json::to_string(self).unwrap_or_default();
        let mut response = reply::json(body);
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        response
    }
}

/// A field that must be there is not.
pub const MISSING: (&str, &str) = ("missing", "Field required");
/// Not a list.
pub const LIST: (&str, &str) = ("list_type", "Input should be a valid list");
/// Not an object, where its fields are known.
pub const OBJECT: (&str, &str) =
    ("model_attributes_type", "Input should be a valid dictionary or object to extract fields from");
/// Not an object, where any fields may be.
pub const DICT: (&str, &str) = ("dict_type", "Input should be a valid dictionary");
/// Not a string.
pub const STRING: (&str, &str) = ("string_type", "Input should be a valid string");

//! The form that starts a scan, and what it sends.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{Algorithm, ByteStr, HostId, Role, ScanOptions, size};
use maud::{Markup, html};
use serde::Deserialize;

use super::browse;
use super::limits::LimitFields;
use crate::audit::scan_entry;
use crate::auth::CsrfForm;
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::shell::{Viewer, find_host};
use crate::scans::{StartScan, Trigger};
use crate::state::AppState;

/// The title of what a viewer sees and cannot use.
pub const NEEDS_OPERATOR: &str = "Needs the operator role";

/// The fields, as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScanFields {
    host: String,
    root: String,
    #[serde(rename = "root.enc")]
    root_encoded: Option<String>,
    algorithm: String,
    excludes: String,
    one_file_system: Option<String>,
    snapshots: Option<String>,
    force: Option<String>,
    hash_min_size: String,
    hash_max_size: String,
    #[serde(flatten)]
    limits: LimitFields,
}

/// What is wrong with one field.
#[derive(Debug)]
pub struct FieldError {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong, then what to do.
    pub text: String,
}

impl FieldError {
    /// This is wrong with this field.
    pub fn new(field: &'static str, text: impl Into<String>) -> Self {
        Self { field, text: text.into() }
    }
}

impl ScanFields {
    /// A form for this host and directory.
    pub fn prefilled(host: Option<HostId>, root: Option<&ByteStr>) -> Self {
        Self {
            host: host.map(|h| h.to_string()).unwrap_or_default(),
            root: root.map(|r| r.display().into_owned()).unwrap_or_default(),
            root_encoded: root.filter(|r| !is_plain(r)).map(ByteStr::to_query),
            ..Self::default()
        }
    }

    /// The form that asks for the same again.
    pub fn of(host: HostId, root: &ByteStr, options: &ScanOptions) -> Self {
        let on = |set: bool| set.then(|| "on".to_owned());
        let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
        Self {
            algorithm: options.algorithm.to_string(),
            excludes: options.excludes.join("\n"),
            one_file_system: on(options.one_file_system),
            snapshots: on(options.snapshots),
            force: on(options.force),
            hash_min_size: number(options.hash_min_size),
            hash_max_size: number(options.hash_max_size),
            limits: LimitFields::of(&options.limits),
            ..Self::prefilled(Some(host), Some(root))
        }
    }

    /// The host as typed: an id or a name.
    pub fn host(&self) -> &str {
        self.host.trim()
    }

    fn directory(&self) -> ByteStr {
        match &self.root_encoded {
            Some(encoded) => ByteStr::from_query(encoded),
            None => ByteStr::from(self.root.trim()),
        }
    }

    /// What the fields say: the directory, and how to scan it.
    pub fn parse(&self) -> Result<(ByteStr, ScanOptions), FieldError> {
        if self.host.trim().is_empty() {
            return Err(FieldError::new("host", "Choose the host to scan."));
        }
        let root = self.directory();
        if !root.as_bytes().starts_with(b"/") {
            return Err(FieldError::new("root", "Give an absolute path, such as /srv/media."));
        }
        let bound = |field, text: &str| match text.trim() {
            "" => Ok(0),
            text => size::parse(text).map_err(|why| FieldError::new(field, sentence(&why))),
        };
        let algorithm = match self.algorithm.as_str() {
            "" => Algorithm::default(),
            name => name.parse().map_err(|why: String| FieldError::new("algorithm", sentence(&why)))?,
        };
        let options = ScanOptions {
            algorithm,
            force: self.force.is_some(),
            excludes: self.excludes.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_string).collect(),
            one_file_system: self.one_file_system.is_some(),
            snapshots: self.snapshots.is_some(),
            hash_min_size: bound("hash_min_size", &self.hash_min_size)?,
            hash_max_size: bound("hash_max_size", &self.hash_max_size)?,
            limits: self.limits.parse()?,
        };
        Ok((root, options))
    }
}

/// `POST /files/scans`: starts a scan and goes to its page, or shows the form again with what is wrong.
pub async fn start(
    State(state): State<AppState>,
    viewer: Viewer,
    CsrfForm(fields): CsrfForm<ScanFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Operator)?;
    let error = match fields.parse() {
        Err(error) => error,
        Ok((root, options)) => match find_host(&state, fields.host.trim()).await? {
            None => FieldError::new("host", "No host is called that. Choose one of the hosts page."),
            Some(host) => {
                let requested_by = viewer.principal.name.clone();
                let trigger = Trigger::default();
                match state.scans.start(StartScan { host: host.id, root, options, requested_by, trigger }).await {
                    Ok(scan) => {
                        let page = Redirect::to(&format!("/files/scans/{}", scan.id));
                        return Ok((scan_entry(&scan), page).into_response());
                    }
                    Err(error) => FieldError::new("root", sentence(&error.to_string())),
                }
            }
        },
    };
    let page = browse::overview(&state, &viewer, None, &fields, Some(&error)).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

/// The form. `error` is shown beside its field.
pub fn panel(viewer: &Viewer, fields: &ScanFields, error: Option<&FieldError>) -> Markup {
    let may = viewer.may(Role::Operator);
    html! {
        section.panel id="scan" aria-labelledby="scan-title" {
            div.panel-head { h2 id="scan-title" { "Scan a directory" } span.sub { "Reads names, sizes and content; changes nothing on the host." } }
            form.form method="post" action="/files/scans" {
                div.panel-body.form {
                    (viewer.csrf())
                    div.form-row {
                        (host_field(viewer, fields, error))
                        (directory_field(viewer, fields, error))
                    }
                    (more_fields(fields, error))
                }
                div.panel-foot {
                    @if may { button.btn.primary { (icon("play")) "Scan" } }
                    @else { (disabled_button("primary", "play", "Scan", NEEDS_OPERATOR)) }
                    span { "A scan after the first reads only what changed." }
                }
            }
        }
    }
}

/// The choice of a host.
pub fn host_field(viewer: &Viewer, fields: &ScanFields, error: Option<&FieldError>) -> Markup {
    let of = |field: &str| error.filter(|e| e.field == field).map(|e| e.text.as_str());
    let only = (viewer.hosts.len() == 1).then(|| viewer.hosts[0].id.to_string());
    let chosen = if fields.host.is_empty() { only.unwrap_or_default() } else { fields.host.clone() };
    html! {
        div.field {
            label for="scan-host" { "Host" }
            @if viewer.menu_is_whole() {
                select.select id="scan-host" name="host" required aria-invalid=[of("host").map(|_| "true")] aria-describedby=[of("host").map(|_| "host-error")] {
                    @if viewer.hosts.len() != 1 { option value="" { "Choose a host" } }
                    @for host in &viewer.hosts {
                        option value=(host.id) selected[host.id.to_string() == chosen] {
                            (host.name) @if viewer.link(host) == LinkState::Down { " (not linked)" }
                        }
                    }
                }
            } @else {
                @let name = chosen.parse().ok().and_then(|id| viewer.host(id)).map_or(chosen.as_str(), |h| h.name.as_str());
                input.input id="scan-host" name="host" value=(name) required placeholder="Its name" autocomplete="off" spellcheck="false"
                    aria-invalid=[of("host").map(|_| "true")] aria-describedby=[of("host").map(|_| "host-error")];
            }
            (field_error("host", of("host")))
        }
    }
}

/// How to scan, in folded parts that are open when something in them is wrong.
pub fn more_fields(fields: &ScanFields, error: Option<&FieldError>) -> Markup {
    const PARTS: [&str; 3] = ["algorithm", "hash_min_size", "hash_max_size"];
    let of = |field: &str| error.filter(|e| e.field == field).map(|e| e.text.as_str());
    html! {
        details.options open[error.is_some_and(|e| PARTS.contains(&e.field))] {
            summary { (icon("right")) "Options" }
            (options(fields, &of))
        }
        (fields.limits.draw(&of))
    }
}

/// The directory, with those that hosts grant as proposals.
pub fn directory_field(viewer: &Viewer, fields: &ScanFields, error: Option<&FieldError>) -> Markup {
    let wrong = error.filter(|e| e.field == "root");
    html! {
        div.field.grow {
            label for="scan-root" { "Directory" }
            input.input.mono id="scan-root" name="root" value=(fields.root) list="granted" placeholder="/srv/media" required
                autocomplete="off" spellcheck="false" readonly[fields.root_encoded.is_some()]
                aria-invalid=[wrong.map(|_| "true")] aria-describedby=[wrong.map(|_| "root-error")];
            @if let Some(encoded) = &fields.root_encoded { input type="hidden" name="root.enc" value=(encoded); }
            datalist id="granted" {
                @for host in &viewer.hosts {
                    @for root in capability(host, "files").map(|c| c.roots.as_slice()).unwrap_or_default() {
                        @if is_plain(root) { option value=(root) label=(host.name) {} }
                    }
                }
            }
            @if let Some(wrong) = wrong {
                span.error id="root-error" {
                    (icon("warn"))
                    span { (wrong.text) }
                }
            }
        }
    }
}

fn options<'a>(fields: &ScanFields, of: &dyn Fn(&str) -> Option<&'a str>) -> Markup {
    html! {
        div.form {
            div.form-row {
                div.field {
                    label for="algorithm" { "Hash" }
                    select.select id="algorithm" name="algorithm" {
                        @for each in Algorithm::ALL { option value=(each) selected[fields.algorithm == each.name()] { (each) } }
                    }
                    span.hint { "BLAKE3 is the fastest; the others are for tools that know them." }
                }
                (text_field("hash_min_size", "Hash files from", &fields.hash_min_size, "Such as 4K. Smaller ones are listed without a hash.", of("hash_min_size")))
                (text_field("hash_max_size", "Hash files up to", &fields.hash_max_size, "Such as 20GiB. Empty for no bound.", of("hash_max_size")))
            }
            div.field {
                label for="excludes" { "Leave out" }
                textarea.input.mono id="excludes" name="excludes" rows="3" spellcheck="false" placeholder="node_modules/\n*.tmp" aria-describedby="excludes-hint" { (fields.excludes) }
                span.hint id="excludes-hint" { "One pattern a line, in gitignore syntax, relative to the directory." }
            }
            div.row {
                label.check { input type="checkbox" name="one_file_system" checked[fields.one_file_system.is_some()]; "Stay on one filesystem" }
                label.check { input type="checkbox" name="force" checked[fields.force.is_some()]; "Hash everything again" }
                label.check { input type="checkbox" name="snapshots" checked[fields.snapshots.is_some()]; "Enter .zfs and .snapshots" }
            }
        }
    }
}

/// A button that scans a root again, with the options of an earlier scan when they are known.
pub fn again_button(
    viewer: &Viewer,
    host: HostId,
    root: &ByteStr,
    options: Option<&ScanOptions>,
    class: &str,
) -> Markup {
    if !viewer.may(Role::Operator) {
        return disabled_button(class, "restart", "Scan again", NEEDS_OPERATOR);
    }
    html! {
        form method="post" action="/files/scans" {
            (viewer.csrf())
            input type="hidden" name="host" value=(host);
            (hidden("root", root))
            @if let Some(options) = options {
                input type="hidden" name="algorithm" value=(options.algorithm);
                @if !options.excludes.is_empty() { input type="hidden" name="excludes" value=(options.excludes.join("\n")); }
                @if options.one_file_system { input type="hidden" name="one_file_system" value="on"; }
                @if options.snapshots { input type="hidden" name="snapshots" value="on"; }
                @if options.hash_min_size > 0 { input type="hidden" name="hash_min_size" value=(options.hash_min_size); }
                @if options.hash_max_size > 0 { input type="hidden" name="hash_max_size" value=(options.hash_max_size); }
                (LimitFields::of(&options.limits).hidden())
            }
            button.btn.(class) aria-label={ "Scan again: " (root) } { (icon("restart")) "Scan again" }
        }
    }
}

#[cfg(test)]
mod tests {
    use hostler_model::ScanLimits;

    use super::*;

    #[test]
    fn fields_become_options() {
        let fields = ScanFields {
            excludes: "node_modules/\r\n\r\n *.tmp ".into(),
            hash_min_size: "4K".into(),
            one_file_system: Some("on".into()),
            limits: LimitFields::of(&ScanLimits { cpu_percent: 50, bytes_per_second: 1 << 20, idle: true }),
            ..ScanFields::prefilled(Some(HostId::new()), Some(&ByteStr::from(&b"/srv/caf\xe9"[..])))
        };
        let (root, options) = fields.parse().unwrap();
        assert_eq!(root.as_bytes(), b"/srv/caf\xe9");
        assert_eq!(options.excludes, ["node_modules/", "*.tmp"]);
        assert_eq!((options.hash_min_size, options.one_file_system, options.force), (4096, true, false));
        assert_eq!(options.limits, ScanLimits { cpu_percent: 50, bytes_per_second: 1 << 20, idle: true });
        let again = ScanFields::of(HostId::new(), &root, &options).parse().unwrap();
        assert_eq!(again, (root, options));
    }

    #[test]
    fn wrong_fields_are_named() {
        let host = Some(HostId::new());
        let good = ScanFields::prefilled(host, Some(&ByteStr::from("/srv")));
        let wrong = |fields: ScanFields| fields.parse().unwrap_err().field;
        assert_eq!(wrong(ScanFields::default()), "host");
        assert_eq!(wrong(ScanFields { root: "srv".into(), ..good.clone() }), "root");
        assert_eq!(wrong(ScanFields { hash_max_size: "big".into(), ..good.clone() }), "hash_max_size");
        assert_eq!(wrong(ScanFields { algorithm: "md5".into(), ..good }), "algorithm");
    }
}

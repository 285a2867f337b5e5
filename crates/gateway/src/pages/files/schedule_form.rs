//! The form that makes or changes a schedule.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{Role, ScanId};
use maud::{Markup, html};
use serde::Deserialize;

use super::scan_form::{FieldError, NEEDS_OPERATOR, ScanFields, directory_field, host_field, more_fields};
use super::schedules::of_path;
use crate::audit::schedule_entry;
use crate::auth::CsrfForm;
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::shell::{Nav, Page, Viewer, crumbs, find_host};
use crate::schedules::cadence::local_zone;
use crate::schedules::{NewSchedule, ScheduleChange, ScheduleError};
use crate::state::AppState;
use crate::store::Schedule;

/// Proposals for those who do not know what to type.
const CADENCES: [&str; 8] = [
    "every 15m",
    "hourly",
    "every 6h",
    "daily 03:30",
    "weekly sun 03:30",
    "monthly 1 03:30",
    "30 3 * * 1-5",
    "every 1d",
];

/// The fields, as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScheduleFields {
    #[serde(flatten)]
    scan: ScanFields,
    cadence: String,
    zone: String,
    window: String,
    spread: String,
}

/// Says whether a run may come later; empty leaves it to the gateway.
const SPREADS: [(&str, &str); 3] =
    [("", "Where no exact time is typed"), ("yes", "Yes, up to 10 minutes"), ("no", "No, at the exact time")];

impl ScheduleFields {
    fn of(schedule: &Schedule) -> Self {
        Self {
            scan: ScanFields::of(schedule.host, &schedule.root, &schedule.options),
            cadence: schedule.cadence.clone(),
            zone: schedule.zone.clone(),
            window: schedule.window.clone().unwrap_or_default(),
            spread: if schedule.spread { "yes" } else { "no" }.into(),
        }
    }

    fn spread(&self) -> Option<bool> {
        match self.spread.as_str() {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        }
    }
}

/// `GET /files/schedules/new`: of a host and a directory in the query, with the options of the scan `of`.
pub async fn new(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let scan = match viewer.query.parsed::<ScanId>("of") {
        Some(id) => {
            let scan = state.store.scan(id).await?;
            ScanFields::of(scan.host, &scan.root, &scan.options)
        }
        None => ScanFields::prefilled(viewer.query.parsed("host"), viewer.query.get("path")),
    };
    Ok(draw(&viewer, None, &ScheduleFields { scan, ..ScheduleFields::default() }, None))
}

/// `POST /files/schedules`.
pub async fn create(
    State(state): State<AppState>,
    viewer: Viewer,
    CsrfForm(fields): CsrfForm<ScheduleFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Operator)?;
    let error = match fields.scan.parse() {
        Err(error) => error,
        Ok((root, options)) => match find_host(&state, fields.scan.host()).await? {
            None => FieldError::new("host", "No host is called that. Choose one of the hosts page."),
            Some(host) => {
                let new = NewSchedule {
                    host: host.id,
                    root,
                    options,
                    cadence: fields.cadence.clone(),
                    zone: Some(fields.zone.trim().to_owned()),
                    window: Some(fields.window.clone()),
                    spread: fields.spread(),
                    enabled: true,
                    created_by: viewer.principal.name.clone(),
                };
                match state.schedules.create(new).await {
                    Ok(schedule) => {
                        return Ok((schedule_entry(&schedule), Redirect::to("/files/schedules")).into_response());
                    }
                    Err(error) => field_of(error)?,
                }
            }
        },
    };
    Ok((StatusCode::UNPROCESSABLE_ENTITY, draw(&viewer, None, &fields, Some(&error))).into_response())
}

/// `GET /files/schedules/{id}`.
pub async fn edit(State(state): State<AppState>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, PageError> {
    let schedule = of_path(&state, &id).await?;
    Ok(draw(&viewer, Some(&schedule), &ScheduleFields::of(&schedule), None))
}

/// `POST /files/schedules/{id}`.
pub async fn save(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(fields): CsrfForm<ScheduleFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Operator)?;
    let schedule = of_path(&state, &id).await?;
    let error = match fields.scan.parse() {
        Err(error) => error,
        Ok((root, options)) => {
            let change = ScheduleChange {
                // Another directory is asked for with the host; the same one was.
                root: Some(root).filter(|root| *root != schedule.root),
                options: Some(options),
                cadence: Some(fields.cadence.clone()),
                zone: Some(fields.zone.trim().to_owned()),
                window: Some(fields.window.clone()),
                spread: fields.spread(),
                enabled: None,
            };
            match state.schedules.change(schedule.id, change).await {
                Ok(schedule) => {
                    return Ok((schedule_entry(&schedule), Redirect::to("/files/schedules")).into_response());
                }
                Err(error) => field_of(error)?,
            }
        }
    };
    Ok((StatusCode::UNPROCESSABLE_ENTITY, draw(&viewer, Some(&schedule), &fields, Some(&error))).into_response())
}

fn field_of(error: ScheduleError) -> Result<FieldError, PageError> {
    match error {
        ScheduleError::Invalid { field, text } => Ok(FieldError::new(field, sentence(&text))),
        ScheduleError::Store(error) => Err(error.into()),
        error => Ok(FieldError::new("root", sentence(&error.to_string()))),
    }
}

fn draw(viewer: &Viewer, schedule: Option<&Schedule>, fields: &ScheduleFields, error: Option<&FieldError>) -> Markup {
    let of = |field: &str| error.filter(|e| e.field == field).map(|e| e.text.as_str());
    let title = if schedule.is_some() { "Change a schedule" } else { "New schedule" };
    let action = match schedule {
        Some(schedule) => format!("/files/schedules/{}", schedule.id),
        None => "/files/schedules".to_owned(),
    };
    let zone_hint = format!("Such as Europe/Vienna. Empty for the gateway's own, {}.", local_zone());
    let main = html! {
        (crumbs(&[("/files", "Files"), ("/files/schedules", "Schedules")], title))
        div.page-head { h1 { (title) } }
        section.panel aria-label=(title) {
            form.form method="post" action=(action) {
                div.panel-body.form {
                    (viewer.csrf())
                    div.form-row {
                        @match schedule {
                            Some(schedule) => {
                                input type="hidden" name="host" value=(schedule.host);
                                div.field { span.label { "Host" } span { bdi { (schedule.host_name) } } }
                            },
                            None => (host_field(viewer, &fields.scan, error)),
                        }
                        (directory_field(viewer, &fields.scan, error))
                    }
                    div.form-row {
                        div.field.grow {
                            label for="cadence" { "How often" }
                            input.input id="cadence" name="cadence" value=(fields.cadence) list="cadences" required placeholder="daily 03:30"
                                autocomplete="off" spellcheck="false" aria-invalid=[of("cadence").map(|_| "true")]
                                aria-describedby=(if of("cadence").is_some() { "cadence-error" } else { "cadence-hint" });
                            datalist id="cadences" { @for each in CADENCES { option value=(each) {} } }
                            @if of("cadence").is_some() { (field_error("cadence", of("cadence"))) }
                            @else { span.hint id="cadence-hint" { "every 6h, hourly, daily 03:30, weekly sun 03:30, monthly 1 03:30, or a cron expression." } }
                        }
                        (text_field("window", "Only between", &fields.window, "Such as 22:00-06:00 or mon-fri 22:00-06:00. Outside, the scan pauses.", of("window")))
                        (text_field("zone", "Time zone", &fields.zone, &zone_hint, of("zone")))
                        div.field {
                            label for="spread" { "Begin a little later" }
                            select.select id="spread" name="spread" {
                                @for (value, label) in SPREADS { option value=(value) selected[fields.spread == value] { (label) } }
                            }
                            span.hint { "So that many hosts do not begin at once." }
                        }
                    }
                    (more_fields(&fields.scan, error))
                }
                div.panel-foot {
                    @if viewer.may(Role::Operator) { button.btn.primary { "Save" } } @else { (disabled_button("primary", "clock", "Save", NEEDS_OPERATOR)) }
                    a.btn href="/files/schedules" { "Back" }
                    span { "A run that is missed is made up for once, when host and gateway are back." }
                }
            }
        }
    };
    viewer.draw(Page { title: title.into(), nav: Nav::Files, host: None, topics: Vec::new(), main })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_form_are_those_of_the_scan_and_its_times() {
        let form: &'static str =
            "/?csrf=x&host=h&root=%2Fsrv&cpu=50&idle=on&excludes=a%0Ab&cadence=daily+03%3A30&spread=no";
        let uri = axum::http::Uri::from_static(form);
        let fields = axum::extract::Query::<ScheduleFields>::try_from_uri(&uri).unwrap().0;
        assert_eq!((fields.cadence.as_str(), fields.spread(), fields.scan.host()), ("daily 03:30", Some(false), "h"));
        let (_, options) = fields.scan.parse().unwrap();
        assert_eq!((options.limits.cpu_percent, options.limits.idle, options.excludes.len()), (50, true, 2));
    }
}

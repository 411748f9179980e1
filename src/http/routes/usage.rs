//! `GET /api/usage`: what a tenant has used, by hour or by day, as JSON or CSV.

use super::json_with;
use crate::actors::types::DispatchError;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::http::usage_view::{BudgetView, CountsView, PeriodView, PeriodWord, UsageView, csv};
use crate::http::{Api, budget};
use actix_web::http::header::{Accept, Header as _};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use sandpiper_domain::{Period, Timestamp, UsageCounts};
use sandpiper_store::{UsageQuery, UsageSum};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// Longest time of a report.
const TIME_MAX: Duration = Duration::from_hours(24 * 366);
/// Most periods of a report. A year of days of one tenant has fewer; so has a year of hours of two keys.
const PERIODS_MAX: usize = 20_000;
const CSV: &str = "text/csv; charset=utf-8";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageParameters {
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
    tenant: Option<String>,
    format: Option<String>,
}

/// Usage
///
/// The usage of the key's tenant; of the key alone if it has neither the scope `read` nor `admin`.
#[utoipa::path(
    get,
    operation_id = "getUsage", path = "/api/usage",
    tag = "usage",
    params(
        ("from" = Option<String>, Query, format = DateTime, description = "First moment, rounded down to a whole period; by default the beginning of the month"),
        ("to" = Option<String>, Query, format = DateTime, description = "First moment that is not included, rounded up to a whole period; by default now"),
        ("by" = Option<PeriodWord>, Query, description = "Length of each period; `day` by default"),
        ("tenant" = Option<String>, Query, description = "Only usage of this tenant; for keys with the scope `admin`, which get the usage of all"),
        ("format" = inline(Option<Format>), Query, description = "Format of the report; by default the header `Accept` decides"),
    ),
    responses((
        status = 200,
        description = "The usage",
        content((UsageView = "application/json"), (String = "text/csv; charset=utf-8"))
    ))
)]
pub(super) async fn show(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let budgets = budget::read(&caller, &request)?;
    let (query, format) = read_query(&caller, request.query_string(), Timestamp::now())?;
    let sums = (api.usage.read(&query).await).map_err(|cause| {
        tracing::error!(%cause, "usage cannot be read from the store: the client gets an error");
        DispatchError::StoreUnavailable
    })?;
    if sums.len() > query.limit {
        return Err(too_many_periods());
    }
    if sums.is_empty() {
        caller.check_empty(&api, &query.access).await?;
    }
    let mut response = HttpResponse::Ok();
    response.insert_header(("Vary", "Accept"));
    if format.unwrap_or_else(|| accepted_format(&request)) == Format::Csv {
        return Ok(response.content_type(CSV).body(csv(&sums)));
    }
    let is_own = (query.access.tenant()).is_none_or(|tenant| tenant == &caller.owner.tenant);
    let budgets = match budgets.filter(|_| is_own) {
        Some(budgets) => (api.usage.known_budget_status(&caller.owner, &budgets)).await,
        None => Vec::new(),
    };
    let budgets = budgets.iter().map(BudgetView::from).collect();
    json_with(response, &report(&query, &sums, budgets))
}

fn report(query: &UsageQuery, sums: &[UsageSum], budgets: Vec<BudgetView>) -> UsageView {
    let mut totals = UsageCounts::default();
    sums.iter().for_each(|sum| totals.add(&sum.counts));
    UsageView {
        tenant: query.access.tenant().cloned(),
        from: query.from,
        to: query.to,
        by: match query.period {
            Period::Hour => PeriodWord::Hour,
            Period::Day | Period::Month => PeriodWord::Day,
        },
        periods: sums.iter().map(PeriodView::from).collect(),
        totals: CountsView::from(&totals),
        budgets,
    }
}

/// Format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = UsageFormat)]
enum Format {
    Json,
    Csv,
}

/// Returns the format that the header `Accept` prefers.
fn accepted_format(request: &HttpRequest) -> Format {
    let Ok(accept) = Accept::parse(request) else {
        return Format::Json;
    };
    let preferred = accept.ranked().into_iter().find_map(|media| {
        match (media.type_().as_str(), media.subtype().as_str()) {
            ("text", "csv" | "*") => Some(Format::Csv),
            ("application", "json" | "*") | ("*", "*") => Some(Format::Json),
            _ => None,
        }
    });
    preferred.unwrap_or(Format::Json)
}

fn read_query(
    caller: &Caller,
    text: &str,
    now: Timestamp,
) -> Result<(UsageQuery, Option<Format>), Problem> {
    let parameters = Query::<UsageParameters>::from_query(text)
        .map_err(|error| Problem::invalid_field("query", format!("the query: {error}")))?
        .into_inner();
    let period = match parameters.by.as_deref() {
        Some("hour") => Period::Hour,
        None | Some("day") => Period::Day,
        Some(_) => {
            return Err(Problem::invalid_field("by", "`by` must be `hour` or `day`"));
        }
    };
    let format = match parameters.format.as_deref() {
        None => None,
        Some("json") => Some(Format::Json),
        Some("csv") => Some(Format::Csv),
        Some(_) => {
            let detail = "`format` must be `json` or `csv`";
            return Err(Problem::invalid_field("format", detail));
        }
    };
    let to = time("to", parameters.to.as_deref())?.unwrap_or(now);
    let from = time("from", parameters.from.as_deref())?;
    let from = from.unwrap_or_else(|| Period::Month.start(to));
    let (from, to) = whole_periods(period, from, to)?;
    let query = UsageQuery {
        access: caller.narrowed_to(parameters.tenant.as_deref())?,
        period,
        from,
        to,
        limit: PERIODS_MAX,
    };
    Ok((query, format))
}

/// Rounds a time outwards to whole periods.
fn whole_periods(
    period: Period,
    from: Timestamp,
    to: Timestamp,
) -> Result<(Timestamp, Timestamp), Problem> {
    if from > to {
        return Err(Problem::invalid_field("from", "`from` must be before `to`"));
    }
    let start = period.start(from);
    let end = if period.start(to) == to && to > from {
        to
    } else {
        period.end(to)
    };
    let millis = end.as_unix_millis() - start.as_unix_millis();
    if Duration::from_millis(millis) > TIME_MAX {
        let days = TIME_MAX.as_secs() / 86_400;
        let detail = format!("`from` and `to` are more than {days} days apart");
        return Err(Problem::invalid_field("from", detail).with("bound", days));
    }
    Ok((start, end))
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else {
        return Ok(None);
    };
    match Timestamp::from_rfc3339(text) {
        Some(moment) => Ok(Some(moment)),
        None => Err(Problem::invalid_field(
            name,
            format!(
                "`{name}` must be an RFC 3339 time, such as 2026-11-24T12:51:51Z; write + as %2B"
            ),
        )),
    }
}

fn too_many_periods() -> Problem {
    let detail = format!(
        "the report would have more than {PERIODS_MAX} periods; ask for a shorter time, for days, or for one tenant"
    );
    Problem::invalid_field("from", detail).with("bound", PERIODS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use sandpiper_domain::{Access, Tenant};

    const NOW: &str = "2026-11-24T12:51:51.042Z";

    fn at(text: &str) -> Timestamp {
        Timestamp::from_rfc3339(text).unwrap()
    }

    fn query(text: &str) -> Result<UsageQuery, String> {
        let caller = Caller::of_tenant("acme".parse().unwrap());
        let read = read_query(&caller, text, at(NOW));
        read.map(|(query, _)| query)
            .map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn a_report_is_of_the_days_of_this_month_unless_the_query_says_otherwise() {
        let default = query("").unwrap();
        assert_eq!(default.period, Period::Day);
        assert_eq!(default.from, at("2026-11-01T00:00:00Z"));
        assert_eq!(default.to, at("2026-11-25T00:00:00Z"));
        let acme: Tenant = "acme".parse().unwrap();
        assert_eq!(default.access, Access::Tenant(acme));
        let until = query("to=2026-10-05T00:00:00Z").unwrap();
        assert_eq!(until.from, at("2026-10-01T00:00:00Z"));
        assert_eq!(until.to, at("2026-10-05T00:00:00Z"));
    }

    #[test]
    fn times_are_rounded_outwards_to_whole_periods() {
        let hours = query("by=hour&from=2026-11-24T10:30:00Z&to=2026-11-24T11:00:00.001Z").unwrap();
        assert_eq!(hours.from, at("2026-11-24T10:00:00Z"));
        assert_eq!(hours.to, at("2026-11-24T12:00:00Z"));
        let aligned = query("by=hour&from=2026-11-24T10:00:00Z&to=2026-11-24T11:00:00Z").unwrap();
        assert_eq!(aligned.to, at("2026-11-24T11:00:00Z"));
        let other_zone = query("from=2026-11-24T01:00:00%2B02:00").unwrap();
        assert_eq!(other_zone.from, at("2026-11-23T00:00:00Z"));
        let moment = query("from=2026-11-24T00:00:00Z&to=2026-11-24T00:00:00Z").unwrap();
        assert_eq!(moment.to, at("2026-11-25T00:00:00Z"));
    }

    #[test]
    fn an_invalid_query_names_its_parameter() {
        for (text, field) in [
            ("from=yesterday", "from"),
            ("to=2026-11-24", "to"),
            ("from=2026-11-25T00:00:00Z&to=2026-11-24T00:00:00Z", "from"),
            ("from=2026-11-25T00:00:00Z", "from"),
            ("from=2025-01-01T00:00:00Z&to=2026-11-24T00:00:00Z", "from"),
            ("by=month", "by"),
            ("format=xml", "format"),
            ("tenant=other", "tenant"),
            ("tenant=a%20b", "tenant"),
            ("month=1", "query"),
        ] {
            let refusal = query(text).unwrap_err();
            assert!(
                refusal.contains(&format!("\"{field}\"")),
                "{text}: {refusal}"
            );
        }
        // A leap year fits.
        assert!(query("from=2025-11-24T00:00:00Z&to=2026-11-25T00:00:00Z").is_ok());
    }

    #[test]
    fn the_preferred_type_decides_the_format() {
        for (accept, expected) in [
            ("text/csv", Format::Csv),
            ("text/csv, */*;q=0.1", Format::Csv),
            ("application/json, text/csv;q=0.9", Format::Json),
            ("text/csv;q=0.5, application/json;q=0.4", Format::Csv),
            ("*/*", Format::Json),
            ("text/html", Format::Json),
            ("", Format::Json),
        ] {
            let request = TestRequest::get().insert_header(("accept", accept));
            let format = accepted_format(&request.to_http_request());
            assert_eq!(format, expected, "{accept}");
        }
    }
}

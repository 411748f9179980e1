//! The text format of OpenMetrics: metric families, each with its help and its type.

use crate::meters::Distribution;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns all metrics of `snapshot` as text.
pub(super) fn text(snapshot: impl Collector) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// A writer of metric families, one after the other. A name is given without its unit and without `_total`; the encoder adds
/// both.
pub(super) struct Families<'a, 'e>(pub(super) &'a mut DescriptorEncoder<'e>);

impl Families<'_, '_> {
    /// Writes a metric without labels.
    pub(super) fn one(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        metric: impl EncodeMetric,
    ) -> fmt::Result {
        let metric_type = metric.metric_type();
        metric.encode(self.0.encode_descriptor(name, help, unit, metric_type)?)
    }

    /// Writes a counter.
    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        self.one(name, help, None, ConstCounter::new(count))
    }

    /// Writes a gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str, number: usize) -> fmt::Result {
        self.one(name, help, None, ConstGauge::new(as_u64(number)))
    }

    /// Writes a gauge of a duration or a moment, seconds.
    pub(super) fn seconds(&mut self, name: &str, help: &str, seconds: f64) -> fmt::Result {
        self.one(name, help, Some(&Unit::Seconds), ConstGauge::new(seconds))
    }

    /// Writes a gauge of a size, bytes.
    pub(super) fn bytes(&mut self, name: &str, help: &str, bytes: u64) -> fmt::Result {
        self.one(name, help, Some(&Unit::Bytes), ConstGauge::new(bytes))
    }

    /// Writes labels that do not change while the process lives.
    pub(super) fn info<const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [(&'static str, String); LABELS],
    ) -> fmt::Result {
        self.one(name, help, None, Info::new(labels.to_vec()))
    }

    /// Writes a counter for each value of a label.
    pub(super) fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &'l str,
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> fmt::Result {
        let labelled = values
            .into_iter()
            .map(|(value, count)| ([(label, value)], count));
        self.counters_by(name, help, labelled)
    }

    /// Writes a counter for each set of labels.
    pub(super) fn counters_by<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); LABELS], u64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in values {
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Writes a gauge for each value of a label.
    pub(super) fn gauges<'l, Number>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &'l str,
        values: impl IntoIterator<Item = (&'l str, Number)>,
    ) -> fmt::Result
    where
        ConstGauge<Number>: EncodeMetric,
    {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (value, number) in values {
            ConstGauge::new(number).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }

    /// Writes a histogram of durations for each set of labels.
    pub(super) fn times<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); LABELS], Distribution)>,
    ) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, times) in values {
            let Distribution {
                buckets,
                sum,
                count,
            } = times;
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    /// Writes a histogram of durations.
    pub(super) fn time(&mut self, name: &str, help: &str, times: &Distribution) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(times.sum, times.count, &times.buckets, None)
    }
}

pub(super) fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

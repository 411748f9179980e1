//! Metrics as OpenMetrics text: one family after the other, each with its help and type.

use crate::counters::Distribution;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Encodes a snapshot of all metrics.
pub fn encode(snapshot: impl Collector) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// A writer of metric families. Names are given without their unit and without `_total`, which the encoder adds.
#[derive(Debug)]
pub struct Families<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl<'a, 'e> Families<'a, 'e> {
    pub fn new(encoder: &'a mut DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    pub fn one(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        number: impl EncodeMetric,
    ) -> fmt::Result {
        let metric_type = number.metric_type();
        number.encode(self.0.encode_descriptor(name, help, unit, metric_type)?)
    }

    pub fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        self.one(name, help, None, ConstCounter::new(count))
    }

    pub fn gauge(&mut self, name: &str, help: &str, number: usize) -> fmt::Result {
        self.one(name, help, None, ConstGauge::new(as_u64(number)))
    }

    pub fn seconds(&mut self, name: &str, help: &str, seconds: f64) -> fmt::Result {
        self.one(name, help, Some(&Unit::Seconds), ConstGauge::new(seconds))
    }

    pub fn bytes(&mut self, name: &str, help: &str, bytes: u64) -> fmt::Result {
        self.one(name, help, Some(&Unit::Bytes), ConstGauge::new(bytes))
    }

    /// Writes an info metric: labels that do not change while the process runs.
    pub fn info<const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [(&'static str, String); LABELS],
    ) -> fmt::Result {
        self.one(name, help, None, Info::new(labels.to_vec()))
    }

    pub fn counters<'l>(
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

    pub fn counters_by<'l, const LABELS: usize>(
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

    pub fn gauges<'l, Number>(
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

    pub fn times<'l, const LABELS: usize>(
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

    pub fn time(&mut self, name: &str, help: &str, times: &Distribution) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(times.sum, times.count, &times.buckets, None)
    }
}

pub fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

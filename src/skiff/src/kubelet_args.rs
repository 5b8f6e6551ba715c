//! `--kubelet-arg name=value`: what of upstream's kubelet configuration can be set, by the flags' names.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kubelet::{Config, Thresholds};

/// Checked when the process starts, applied to each [`Config`].
#[derive(Debug, Default, Clone)]
pub struct KubeletArgs {
    /// `cloud-provider=external`
    pub external_cloud_provider: bool,
    eviction_hard: Option<Thresholds>,
    pressure_transition: Option<Duration>,
    image_gc_high: Option<u8>,
    image_gc_low: Option<u8>,
}

impl KubeletArgs {
    pub fn parse(all: &[String]) -> Result<KubeletArgs> {
        let mut args = KubeletArgs::default();
        for arg in joined(all) {
            let (name, value) = arg.trim_start_matches('-').split_once('=').unwrap_or((&arg, ""));
            let invalid = || format!("--kubelet-arg: {name}: {value:?} is not valid");
            match (name, value) {
                ("cloud-provider", "external") => args.external_cloud_provider = true,
                ("eviction-hard", _) => {
                    let thresholds = value.parse::<Thresholds>().map_err(anyhow::Error::msg);
                    args.eviction_hard = Some(thresholds.with_context(invalid)?);
                }
                ("eviction-pressure-transition-period", _) => {
                    let period = value.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
                    args.pressure_transition = Some(period.with_context(invalid)?);
                }
                ("image-gc-high-threshold", _) => args.image_gc_high = Some(percent(value).with_context(invalid)?),
                ("image-gc-low-threshold", _) => args.image_gc_low = Some(percent(value).with_context(invalid)?),
                _ => bail!(
                    "--kubelet-arg: {arg:?} is not known; these are: cloud-provider=external, eviction-hard, \
                     eviction-pressure-transition-period, image-gc-high-threshold, image-gc-low-threshold"
                ),
            }
        }
        Ok(args)
    }

    pub fn apply(&self, config: &mut Config) {
        config.external_cloud_provider |= self.external_cloud_provider;
        if let Some(thresholds) = &self.eviction_hard {
            config.eviction_hard = thresholds.clone();
        }
        config.pressure_transition = self.pressure_transition.unwrap_or(config.pressure_transition);
        config.image_gc.high = self.image_gc_high.unwrap_or(config.image_gc.high);
        config.image_gc.low = self.image_gc_low.unwrap_or(config.image_gc.low).min(config.image_gc.high);
    }
}

fn percent(value: &str) -> Option<u8> {
    value.parse().ok().filter(|p| *p <= 100)
}

/// The flag's values are split at commas, which `eviction-hard` has within.
fn joined(all: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for part in all {
        match out.last_mut() {
            Some(last) if part.contains('<') && !part.contains('=') => {
                last.push(',');
                last.push_str(part);
            }
            _ => out.push(part.clone()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(all: &[&str]) -> Result<KubeletArgs> {
        KubeletArgs::parse(&all.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_given_is_set_and_the_rest_stays() {
        let all = ["eviction-hard=memory.available<5%", "imagefs.available<2%", "image-gc-high-threshold=70"];
        let mut config = Config::default();
        parse(&all).unwrap().apply(&mut config);
        assert_eq!(config.eviction_hard, "memory.available<5%,imagefs.available<2%".parse().unwrap());
        assert_eq!((config.image_gc.high, config.image_gc.low), (70, 70), "low is at most high");
        assert_eq!(config.pressure_transition, Duration::from_secs(300));
        let mut config = Config::default();
        let all = ["--cloud-provider=external", "eviction-hard=", "eviction-pressure-transition-period=30s"];
        parse(&all).unwrap().apply(&mut config);
        assert!(config.external_cloud_provider);
        assert_eq!(config.eviction_hard, "".parse().unwrap(), "none at all");
        assert_eq!(config.pressure_transition, Duration::from_secs(30));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (arg, want) in [
            ("max-pod=5", "\"max-pod=5\" is not known"),
            ("cloud-provider=aws", "is not known"),
            ("image-gc-high-threshold=101", "image-gc-high-threshold: \"101\" is not valid"),
            ("eviction-hard=disk<5%", "eviction-hard: \"disk<5%\" is not valid"),
            ("eviction-pressure-transition-period=-1s", "is not valid"),
        ] {
            let error = format!("{:#}", parse(&[arg]).unwrap_err());
            assert!(error.contains(want), "{arg}: {error}");
        }
    }
}

//! Configuration of groups: what their keys may say. Texts are Kafka's.

use klamm_model::check_group_config;

use super::{ConfigError, Controller};
use crate::image::ConfigMap;
use crate::limits::{GROUP_CONFIGS_MAX, GROUP_NAME_BYTES_MAX, GROUP_VALUE_BYTES_MAX};

impl Controller {
    /// Checks the whole configuration of a group. `groups` counts those of which anything is
    /// configured, with the changes that went before.
    pub(super) fn check_group(
        &self,
        name: &str,
        before: &ConfigMap,
        after: &ConfigMap,
        groups: &mut usize,
    ) -> Result<(), ConfigError> {
        if name.is_empty() {
            let text = "Default group resources are not allowed.";
            return Err(ConfigError::Request(text.to_owned()));
        }
        if name.len() > GROUP_NAME_BYTES_MAX {
            let text = format!("Group name of {} bytes is too long.", name.len());
            return Err(ConfigError::Request(text));
        }
        check_group_config(after, &self.defaults.groups).map_err(ConfigError::Invalid)?;
        let mut values = after.iter();
        if let Some((key, value)) = values.find(|(_, value)| value.len() > GROUP_VALUE_BYTES_MAX) {
            let bytes = value.len();
            let text = format!("The value of {key} is too long: {bytes} bytes.");
            return Err(ConfigError::Invalid(text));
        }
        if before.is_empty() && !after.is_empty() {
            if *groups >= GROUP_CONFIGS_MAX {
                return Err(ConfigError::TooManyGroups);
            }
            *groups += 1;
        }
        Ok(())
    }
}

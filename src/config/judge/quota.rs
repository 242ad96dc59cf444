//! How much a user and a tenant may call.

use std::time::Duration;

use super::super::raw::{RawQuota, RawSession};
use crate::pool::quota::QuotaSettings;

pub(super) fn judge(raw: &RawQuota, session: &RawSession) -> QuotaSettings {
    QuotaSettings {
        user_calls: session.max_sessions_per_user as usize,
        tenant_calls: raw.tenant_calls as usize,
        user_time: Duration::from_secs(raw.user_seconds),
        tenant_time: Duration::from_secs(raw.tenant_seconds),
        window: Duration::from_secs(raw.window_seconds),
        longest: Duration::from_secs(session.max_duration_seconds),
    }
}

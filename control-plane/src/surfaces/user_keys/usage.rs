//! `GET /api/v1/psp/product-manager/customer-user-api-keys/usage`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::place::Sees;
use crate::App;
use crate::operations::user_keys;
use crate::surfaces::problem::Problem;

/// How many keys there are.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(example = json!({"used": 1, "limit": 20}))]
pub struct Usage {
    #[schema(minimum = 0)]
    used: i64,
    limit: u32,
}

/// Shows how many keys the environment has and may have.
///
/// # Errors
/// When the caller lacks a claim, or there is no such environment.
#[utoipa::path(
    get,
    path = "/api/v1/psp/product-manager/customer-user-api-keys/usage",
    operation_id = "getUsage",
    tag = "keys",
    responses(
        (status = 200, description = "How many keys there are and may be.", body = Usage),
        (status = 404, description = "There is no such environment."),
    ),
)]
pub async fn usage(State(app): State<App>, Sees(viewer): Sees) -> Result<Json<Usage>, Problem> {
    let counted = user_keys::used(&app.registry, &viewer).await?;
    Ok(Json(Usage {
        used: counted.used,
        limit: counted.limit,
    }))
}

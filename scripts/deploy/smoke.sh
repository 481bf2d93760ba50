#!/usr/bin/env bash
# Is it alive, and is it shut? Health is green; nobody gets in without a key or a sign-in; TLS only.
#   scripts/deploy/smoke.sh [host]
. "$(dirname "$0")/common.sh"
need curl "install curl"
if [ -n "${1:-}" ]; then host="$1"; else
  need_group
  host="$(output_of functionAppHost)"
fi
base="${CONCORD_SCHEME:-https}://$host"

NEXT="az webapp log tail -g $GROUP -n <app>: a setting that is wrong is named there, all of them at once; or scripts/deploy/rollback.sh"
health="$(curl -sS --fail-with-body --max-time 30 --retry "${CONCORD_SMOKE_RETRIES:-12}" --retry-delay "${CONCORD_SMOKE_DELAY:-5}" --retry-all-errors "$base/api/health")"
case "$health" in
  *'"status":"ok"'* | *'"status": "ok"'*) say "health is green" ;;
  *) stop "health says: $health" "the check that is not ok is named there (sign in to see all): docs/runbooks/README.md" ;;
esac

shut() { # method path: an anonymous call gets 401
  local status
  status="$(curl -sS --max-time 30 -o /dev/null -w '%{http_code}' -X "$1" -H 'Content-Type: application/json' -d '{}' "$base$2")"
  [ "$status" = 401 ] || stop "an anonymous $1 $2 got $status, not 401" "stop the app (az functionapp stop) and look at sign-in (authsettingsV2) and at the function's level"
  say "an anonymous $1 $2 gets 401"
}
shut POST /api/credit-checks
shut POST /api/webhooks/dataverse
shut GET /api/cases
shut POST /api/flows/order_to_ledger/pause
shut GET /api/availability
say "done; next (the first time): scripts/deploy/register-dataverse.sh <environment> --dry-run"

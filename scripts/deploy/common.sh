# Sourced by every step: strict mode, the environment's names, and a last line that says what to do next.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

STEP="$(basename "$0" .sh)"
NEXT=""
TOLD=3 # the exit status of a step that has said what to do next
say() { printf '%s: %s\n' "$STEP" "$*"; }
stop() {
  printf '%s: %s\n' "$STEP" "$1" >&2
  printf '%s: next: %s\n' "$STEP" "$2" >&2
  exit "$TOLD"
}
# shellcheck disable=SC2329  # called by the trap
failed() { # status line command: says it once, although subshells pass it on
  [ "$1" != "$TOLD" ] || exit "$TOLD"
  printf '%s: stopped at line %s: %s\n' "$STEP" "$2" "${3%%$'\n'*}" >&2
  printf '%s: next: %s\n' "$STEP" "${NEXT:-read the message above, put it right, and run this step again; every step can be repeated}" >&2
  exit "$TOLD"
}
trap 'failed "$?" "$LINENO" "$BASH_COMMAND"' ERR
set -o errtrace

need() {
  command -v "$1" >/dev/null 2>&1 || stop "$1 is not installed" "$2"
}

DEPLOYMENT=concord
GROUP="${AZURE_RESOURCE_GROUP:-}"

need_group() {
  need az "install the Azure CLI (https://aka.ms/azure-cli), then az login"
  [ -n "$GROUP" ] || stop "AZURE_RESOURCE_GROUP is not set" "export AZURE_RESOURCE_GROUP=rg-concord-dev"
  az account show --output none || stop "nobody is signed in to Azure" "az login, then az account set --subscription <name or id>"
}

need_environment() {
  ENVIRONMENT="${1:-}"
  [ -n "$ENVIRONMENT" ] || stop "which environment?" "scripts/deploy/$STEP.sh dev"
  PARAMETERS="infra/parameters/$ENVIRONMENT.json"
  [ -f "$PARAMETERS" ] || stop "there is no $PARAMETERS" "copy infra/parameters/dev.json to it and set the values"
}

# What the last deployment gave out, by name.
output_of() {
  NEXT="scripts/deploy/create.sh <environment>: its outputs are read here"
  local value
  value="$(az deployment group show --resource-group "$GROUP" --name "$DEPLOYMENT" --query "properties.outputs.$1.value" --output tsv)"
  [ -n "$value" ] || stop "the deployment $DEPLOYMENT gave no $1" "scripts/deploy/create.sh <environment>"
  NEXT=""
  printf '%s' "$value"
}

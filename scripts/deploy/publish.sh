#!/usr/bin/env bash
# Publish a package, give the app its own copy of the host key, and remember what was published for a roll-back.
#   scripts/deploy/publish.sh                 out/concord.zip
#   scripts/deploy/publish.sh FILE.zip        another package
#   scripts/deploy/publish.sh --keys-only     only the key: after it was changed
. "$(dirname "$0")/common.sh"
package="${1:-out/concord.zip}"
need_group
app="$(output_of functionAppName)"
vault="$(output_of keyVaultName)"

if [ "$package" != "--keys-only" ]; then
  [ -s "$package" ] || stop "there is no package $package" "scripts/deploy/package.sh"
  NEXT="az functionapp log deployment show -g $GROUP -n $app; the version before is still running, or: scripts/deploy/rollback.sh"
  az functionapp deployment source config-zip --resource-group "$GROUP" --name "$app" --src "$package" --build-remote true --timeout 900 --output none
  mkdir -p out/releases
  kept="out/releases/$(date -u +%Y%m%dT%H%M%SZ)-$(sha256sum "$package" | cut -c1-12).zip"
  if [ "$(dirname "$package")" = out/releases ]; then kept="$package"; else cp "$package" "$kept"; fi
  printf '%s %s %s\n' "$(date -u +%FT%TZ)" "$GROUP" "$kept" >>out/releases/published.log
  say "published $kept"
fi

NEXT="the app is published; only its copy of the host key is missing: with the role Key Vault Secrets Officer, scripts/deploy/publish.sh --keys-only"
key="$(az functionapp keys list --resource-group "$GROUP" --name "$app" --query functionKeys.default --output tsv)"
[ -n "$key" ] || stop "the host has no default key yet" "wait a minute, then scripts/deploy/publish.sh --keys-only"
held="$(az keyvault secret list --vault-name "$vault" --query "[?name=='service-key'] | length(@)" --output tsv)"
copy=""
if [ "$held" != 0 ]; then
  copy="$(az keyvault secret show --vault-name "$vault" --name service-key --query value --output tsv)"
fi
if [ "$key" != "$copy" ]; then
  printf '%s' "$key" | az keyvault secret set --vault-name "$vault" --name service-key --file /dev/stdin --encoding utf-8 --output none
  az functionapp restart --resource-group "$GROUP" --name "$app" --output none
  say "the host key is in the vault, the app restarts with it"
fi
unset key copy
say "done; next: scripts/deploy/smoke.sh"

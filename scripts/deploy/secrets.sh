#!/usr/bin/env bash
# Put the password of SAP's communication user into the vault. Asked for, or read from a file; never on a command line.
#   scripts/deploy/secrets.sh            asks
#   scripts/deploy/secrets.sh FILE       reads the file's first line
# Whoever runs it needs the role Key Vault Secrets Officer on the vault, and with private networking a place in it.
. "$(dirname "$0")/common.sh"
need_group
vault="$(output_of keyVaultName)"
if [ -n "${1:-}" ]; then
  IFS= read -r password <"$1" || [ -n "$password" ] || stop "$1 is empty" "put the password on its first line"
else
  printf 'Password of the SAP communication user: ' >&2
  IFS= read -rs password
  printf '\n' >&2
fi
[ -n "$password" ] || stop "no password was given" "run this again and type it"
NEXT="give yourself the role: az role assignment create --assignee <you> --role 'Key Vault Secrets Officer' --scope \$(az keyvault show -n $vault --query id -o tsv), wait a minute, run this again"
printf '%s' "$password" | az keyvault secret set --vault-name "$vault" --name sap-password --file /dev/stdin --encoding utf-8 --output none
unset password
say "done; next: scripts/deploy/package.sh"

#!/usr/bin/env bash
# Manual pages: clean under mandoc, and true to the programs: a command or option that --help knows stands in the page, and an
# option that the page describes is one that --help knows.   Usage: BUILD=build tests/lint/pages.sh
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 2
build=${BUILD:-build}
bad=0
complain() {
    echo "$*"
    bad=1
}
pages=(farshore-site.8 farshore-agent.8 farshore-snapshot.1 farshore-verify.1 farshore-restore.1 farshore-conf.5
    farshore-store.5 farshore-wire.5)
for page in "${pages[@]}"; do
    [ -f "man/$page" ] || { complain "man/$page is missing"; continue; }
    mandoc -T lint -W warning "man/$page" || bad=1
done
for page in "${pages[@]:0:5}"; do
    program=${page%.*}
    text=$(mandoc -T ascii "man/$page" | sed 's/.\x08//g')
    listed=$("$build/$program" --complete) || { complain "$program --complete failed"; continue; }
    [ -n "$listed" ] || complain "$program --complete is empty"
    while read -r word _; do
        case $word in
        --*) grep -qE -- "(^|[^[:alnum:]-])$word([^[:alnum:]-]|$)" <<<"$text" || complain "man/$page does not name $word" ;;
        ?*) grep -qw -- "$word" <<<"$text" || complain "man/$page does not name the command $word" ;;
        esac
    done <<<"$listed"
    while read -r word; do
        grep -qE -- "^$word( |$)" <<<"$listed" || complain "man/$page describes $word, which $program does not know"
    done < <(sed -n 's/^\.It Fl -\([a-z-]*\).*/--\1/p' "man/$page" | sort -u)
    for section in NAME SYNOPSIS DESCRIPTION 'JSON OUTPUT' 'EXIT STATUS' EXAMPLES CAVEATS; do
        grep -qx -- "$section" <<<"$text" || complain "man/$page has no section $section"
    done
done
exit $bad

#!/usr/bin/env bash
# lint.sh - everything that is checked without running the programs' work.  TAP.   Usage: BUILD=build tests/lint/lint.sh
set -u
cd "$(dirname "$0")/../.." || exit 2
n=0
failed=0
check() { # description, command...
    local what=$1 out
    shift
    n=$((n + 1))
    if out=$("$@" 2>&1); then
        echo "ok $n - $what"
    else
        failed=$((failed + 1))
        echo "not ok $n - $what"
        head -n 60 <<<"$out" | sed 's/^/# /'
    fi
}
# What lies in the checkout, tracked or about to be: a list kept by hand would let a new file slip by.
list() { # name pattern
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -co --exclude-standard -- "$1" | sort -u | while read -r f; do [ -f "$f" ] && echo "$f"; done
    else
        find . -path ./build -prune -o -type f -name "$1" -print | sed 's|^\./||'
    fi
}
mapfile -t sources < <(list '*.c')
mapfile -t headers < <(list '*.h')
mapfile -t scripts < <(list '*.sh' | cat - <(echo .ci/run; echo completion/farshore))
mapfile -t pythons < <(list '*.py')
ours=()
for f in "${sources[@]}"; do [[ $f == tests/* ]] || ours+=("$f"); done

objects_known() { # each source is named in the Makefile's lists, so that none lies about unbuilt
    local f bad=0 database
    database=$(make -npq BUILD=build 2>/dev/null)
    for f in "${sources[@]}"; do
        grep -qF "build/${f%.c}.o" <<<"$database" || { echo "$f is in no list of the Makefile"; bad=1; }
    done
    return $bad
}
python_compiles() { python3 -c 'import ast, sys
for name in sys.argv[1:]: ast.parse(open(name).read(), name)' "${pythons[@]}"; }

check "includes run one way, foreign libraries have one home" awk -f tests/lint/includes.awk "${sources[@]}" "${headers[@]}"
check "functions, files and lines are short, nothing unfinished" awk -f tests/lint/size.awk "${sources[@]}" "${headers[@]}"
check "clang-format finds nothing to change" clang-format --dry-run -Werror "${sources[@]}"
check "every source is named in the Makefile" objects_known
check "cppcheck finds nothing" cppcheck -q -j 2 --enable=warning,performance,portability --std=c11 --inline-suppr \
    --error-exitcode=1 --suppressions-list=tests/lint/cppcheck.txt -D_GNU_SOURCE '-DFARSHORE_VERSION="0"' -I. "${ours[@]}"
check "manual pages are clean and true to --help" tests/lint/pages.sh
if command -v shellcheck >/dev/null; then
    check "shellcheck finds nothing" shellcheck -S warning -x -s bash -e SC1091,SC2034,SC2154,SC2317 "${scripts[@]}"
else
    for f in "${scripts[@]}"; do check "$f parses" bash -n "$f"; done
fi
check "python parses" python_compiles
echo "1..$n"
exit $((failed > 0))

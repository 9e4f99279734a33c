#!/usr/bin/env bash
# Root runs here what only an ordinary user can test of the sandbox: a user without an account, whom
# setpriv makes and nobody has to remove, in a copy of the checkout that any user may read. The copy
# lies below the temporary folder, and grading is tried through a link to it, as on many hubs.
set -euo pipefail
cd "$(dirname "$0")/.."
USER_ID=54321

skip() {
  echo "The tests of the sandbox as an ordinary user are not run: $1."
  exit 0
}
[ "$(id -u)" = 0 ] || skip "only root can become another user, and the other tests ran as one"
command -v setpriv > /dev/null || skip "there is no program setpriv (Debian: util-linux)"

umask 022
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
mkdir "$place/checkout" "$place/checkout/tests" "$place/checkout/book"
ln -s checkout "$place/link"
cp -r lecture_vae exercises pyproject.toml "$place/checkout"
cp -r book/_ext "$place/checkout/book"
cp -r tests/*.py tests/exercises "$place/checkout/tests"
chmod -R go+rX "$place/checkout"
install -d -o "$USER_ID" -g "$USER_ID" "$place/home"

as_user() {
  setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --inh-caps=-all -- \
    env --chdir="$place/home" HOME="$place/home" USER=student LOGNAME=student \
    PYTHONDONTWRITEBYTECODE=1 "$@"
}
copy() { # hard links take no time and no space, but do not reach another file system
  cp -al -T "$1" "$2" 2> /dev/null || cp -a -T "$1" "$2"
}
of_python() { # what Python, the one in the checkout's environment, says of itself
  .venv/bin/python -c "import sys, sysconfig; print($1)"
}

python="$(of_python sys.base_prefix)/bin/python3"
if ! as_user "$python" -c "" 2> /dev/null; then # root's own, in a private folder
  library="$(of_python 'sysconfig.get_path("stdlib")')"
  python="$place/python/bin/python3"
  mkdir -p "$place/python/lib/${library##*/}"
  copy "$(of_python sys.base_prefix)/bin" "$place/python/bin"
  for each in "$library"/*; do
    case "${each##*/}" in
      site-packages | test) ;; # large, and not needed
      *) copy "$each" "$place/python/lib/${library##*/}/${each##*/}" ;;
    esac
  done
  as_user "$python" -c "" 2> /dev/null || skip "Python lies in a private folder and cannot be copied"
fi
"$python" -m venv --without-pip "$place/checkout/.venv"
packages="$(of_python 'sysconfig.get_path("purelib")')"
copy "$packages" "$place/checkout/.venv/${packages#*/.venv/}"
packages="$place/checkout/.venv/${packages#*/.venv/}"
rm -f "$packages"/*lecture_vae*.pth # leads to the checkout that was copied
echo "$place/checkout" > "$packages/copy_of_lecture_vae.pth"

run() {
  as_user "$1/.venv/bin/python" -m pytest -q -p no:cacheprovider --basetemp "$place/home/pytest" \
    -c "$1/pyproject.toml" --rootdir "$1" "${@:2}"
}
tests="$place/checkout/tests"
run "$place/checkout" "$tests"/test_{layers,sandbox,places,forkserver}.py \
  "$tests/test_boxed.py::test_a_box_leaves_nothing_on_the_disk_and_shows_nothing"
tests="$place/link/tests"
run "$place/link" "$tests/test_cli.py::test_grade_prints_one_json_object_as_its_last_line" \
  "$tests/test_acceptance.py::test_a_failure_of_ours_is_repeated_alone_and_costs_no_points"

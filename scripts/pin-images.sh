#!/bin/sh
# Pins the images of docker-compose.yml and the Dockerfile by digest: asks the registry which digest each tag has now, and
# writes it after the tag. To change to another version, change the tag first.
#
# usage: scripts/pin-images.sh [--check] [FILE ...]     (--check: change nothing; exit 1 if a tag has another digest)
#
# The images are those of Docker Hub; REGISTRY names another registry, such as http://127.0.0.1:5000. It needs curl.
set -eu
cd "$(dirname "$0")/.."

only_check=
if [ "${1:-}" = --check ]; then
    only_check=1
    shift
fi
[ "$#" != 0 ] || set -- docker-compose.yml Dockerfile
accept='application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json'
accept="$accept, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"

# Prints the digest of a tag: that of the index of all platforms, if there is one.
digest_of() { # repository, tag
    if [ -n "${REGISTRY:-}" ]; then
        url=$REGISTRY
        login='X-No-Login: 1'
    else
        url=https://registry-1.docker.io
        answer=$(curl --fail --silent --show-error \
            "https://auth.docker.io/token?service=registry.docker.io&scope=repository:$1:pull")
        login="Authorization: Bearer $(printf %s "$answer" | sed 's/.*"token": *"\([^"]*\)".*/\1/')"
    fi
    curl --fail --silent --show-error --head --header "$login" --header "Accept: $accept" "$url/v2/$1/manifests/$2" |
        tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: *\(sha256:[0-9a-f]\{64\}\)$/\1/p'
}

moved=0
pinned=$(sed -n 's/^ *image: *\([^ ]*\).*/\1/p; s/^FROM \([^ ]*\).*/\1/p' "$@" | grep : | sort -u)
for image in $pinned; do
    name=${image%%@*}
    tag=${name##*:}
    repository=${name%:*}
    case $repository in
        */*) ;;
        *) repository=library/$repository ;;
    esac
    digest=$(digest_of "$repository" "$tag") || digest=
    if [ -z "$digest" ]; then
        printf 'pin-images: the registry gives no digest for %s\n' "$name" >&2
        exit 1
    fi
    if [ "$image" = "$name@$digest" ]; then
        printf '%s: unchanged\n' "$name"
        continue
    fi
    moved=1
    printf '%s: %s\n' "$name" "$digest"
    if [ -z "$only_check" ]; then
        for file; do
            # Into a new file, so that nothing is half written.
            sed "s|$image\( *\)\$|$name@$digest\1|; s|$image |$name@$digest |" "$file" >"$file.pinned"
            cat "$file.pinned" >"$file"
            rm "$file.pinned"
        done
    fi
done
[ -z "$only_check" ] || exit "$moved"

# ale-dask, again while it ends for want of a scheduler (69, 75): any other end would come back the same.
stop() {
    trap - TERM
    kill -TERM "$child" && wait "$child"
    exit 75
}
trap stop TERM
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    ale-dask "$@" &
    child=$!
    status=0
    wait "$child" || status=$?
    case $status in 69 | 75) sleep 5 ;; *) break ;; esac
done
exit "$status"

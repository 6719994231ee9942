# Functions of at most 70 lines, files of at most 500, lines of at most 140 characters.
#   awk -f tests/lint/size.awk FILE...
function complain(line, text) {
    printf "%s:%d: %s\n", FILENAME, line, text
    bad = 1
}
FNR == 1 { start = 0 }
FNR == 501 { complain(501, "the file has more than 500 lines: split it by verb") }
length($0) > 140 { complain(FNR, "a line of " length($0) " characters") }
/[ \t]$/ { complain(FNR, "white space at the end of the line") }
/^\{/ { start = FNR }
/^\}/ {
    if (start && FNR - start > 70) complain(start, "a function of " FNR - start " lines")
    start = 0
}
/TODO|FIXME|(^|[^X])XXX([^X]|$)/ { complain(FNR, "unfinished: " $0) }
END { exit bad }

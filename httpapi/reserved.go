package httpapi

import (
	"maps"
	"slices"
)

// Reserved are the words that are never an alias, in lower case and in order;
// a node should not hand them out as keys either (cluster.Config.Reserved).
var Reserved = slices.Sorted(maps.Keys(reserved))

package history

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"sync"
	"time"

	"hearth/devices"
)

// What is no plain reading is kept as a record: a value with its type before it, a
// struct as the names of its fields that are not zero. So a later Hearth reads what
// an earlier one wrote. JSON would not do: it loses a Toggle, bytes that are no
// UTF-8, and what is a whole number in Go.
const (
	tagNil    = 'z'
	tagFalse  = 'f'
	tagTrue   = 't'
	tagInt    = 'i'
	tagUint   = 'u'
	tagFloat  = 'd'
	tagString = 's'
	tagBytes  = 'b'
	tagList   = 'l'
	tagMap    = 'm'
	tagStruct = 'o'
	tagNow    = 'n'
	tagTime   = 'c'
	tagToggle = 'g'
)

// maxDepth bounds how deep values may lie in one another.
const maxDepth = 1000

var (
	nowType    = reflect.TypeFor[devices.Now]()
	timeType   = reflect.TypeFor[time.Time]()
	toggleType = reflect.TypeFor[devices.Toggle]()
)

// A field is one of a struct that is kept.
type field struct {
	name  string
	index int
}

var fieldsOf sync.Map // reflect.Type -> []field

func fields(t reflect.Type) []field {
	if all, ok := fieldsOf.Load(t); ok {
		return all.([]field)
	}
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.IsExported() && f.Type.Kind() != reflect.Func && f.Tag.Get("json") != "-" {
			all = append(all, field{f.Name, i})
		}
	}
	fieldsOf.Store(t, all)
	return all
}

// appendRecord appends v, which is made of what the structs of events and decisions
// are made of.
func appendRecord(b []byte, v any) []byte { return appendValue(b, reflect.ValueOf(v), 0) }

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendValue(b []byte, v reflect.Value, depth int) []byte {
	if !v.IsValid() || depth > maxDepth {
		return append(b, tagNil)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, tagNil)
		}
		return appendValue(b, v.Elem(), depth+1)
	case reflect.Bool:
		if v.Bool() {
			return append(b, tagTrue)
		}
		return append(b, tagFalse)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return binary.AppendVarint(append(b, tagInt), v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return binary.AppendUvarint(append(b, tagUint), v.Uint())
	case reflect.Float32, reflect.Float64:
		return binary.BigEndian.AppendUint64(append(b, tagFloat), math.Float64bits(v.Float()))
	case reflect.String:
		return appendText(append(b, tagString), v.String())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b = binary.AppendUvarint(append(b, tagBytes), uint64(v.Len()))
			return append(b, v.Bytes()...)
		}
		b = binary.AppendUvarint(append(b, tagList), uint64(v.Len()))
		for i := range v.Len() {
			b = appendValue(b, v.Index(i), depth+1)
		}
		return b
	case reflect.Map:
		b = binary.AppendUvarint(append(b, tagMap), uint64(v.Len()))
		for at := v.MapRange(); at.Next(); {
			b = appendValue(b, at.Key(), depth+1)
			b = appendValue(b, at.Value(), depth+1)
		}
		return b
	case reflect.Struct:
		switch v.Type() {
		case nowType:
			return appendNow(append(b, tagNow), v.Interface().(devices.Now))
		case timeType:
			t := v.Interface().(time.Time)
			b = binary.AppendVarint(append(b, tagTime), t.Unix())
			return binary.AppendUvarint(b, uint64(t.Nanosecond()))
		case toggleType:
			return append(b, tagToggle)
		}
		b = append(b, tagStruct)
		for _, f := range fields(v.Type()) {
			if x := v.Field(f.index); !x.IsZero() {
				b = appendText(b, f.name)
				b = appendValue(b, x, depth+1)
			}
		}
		return append(b, 0)
	}
	return append(b, tagNil)
}

// appendNow keeps the wall clock as its distance from the monotonic one, which
// seldom changes.
func appendNow(b []byte, n devices.Now) []byte {
	mono := n.Mono.Microseconds()
	b = binary.AppendVarint(b, mono)
	b = binary.AppendVarint(b, n.Wall.UnixMicro()-mono)
	if n.Known {
		return append(b, 1)
	}
	return append(b, 0)
}

// A reader takes bytes apart. After the first that is not as it should be it
// gives zeros.
type reader struct {
	b    []byte
	bad  bool
	zone *time.Location
}

func (r *reader) fail() {
	r.bad, r.b = true, nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		c := r.b[0]
		r.b = r.b[1:]
		return uint64(c)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	u := r.uint()
	return int64(u>>1) ^ -int64(u&1)
}

// count is a number of things that follow, each at least one byte.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// bytes is not a copy.
func (r *reader) bytes() []byte {
	n := r.count()
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) str() string { return string(r.bytes()) }

func (r *reader) float() float64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	f := math.Float64frombits(binary.BigEndian.Uint64(r.b))
	r.b = r.b[8:]
	return f
}

func (r *reader) now() devices.Now {
	mono := r.int()
	wall := mono + r.int()
	return devices.Now{Mono: time.Duration(mono) * time.Microsecond, Wall: r.wall(wall), Known: r.byte() == 1}
}

// wall is a moment in microseconds since 1970; that of the zero time stays it.
func (r *reader) wall(us int64) time.Time {
	t := time.UnixMicro(us)
	if t.IsZero() {
		return time.Time{}
	}
	return t.In(r.zone)
}

func (r *reader) time() time.Time {
	s := r.int()
	t := time.Unix(s, int64(r.uint()))
	if t.IsZero() {
		return time.Time{}
	}
	return t.In(r.zone)
}

// record reads what appendRecord wrote into the value that p points to. Fields of
// which the type knows nothing any more are passed over.
func (r *reader) record(p any) error {
	r.into(reflect.ValueOf(p).Elem(), 0)
	if r.bad {
		return fmt.Errorf("a record: %w", errDamaged)
	}
	return nil
}

func (r *reader) into(v reflect.Value, depth int) {
	if depth > maxDepth {
		r.fail()
	}
	if r.bad || len(r.b) == 0 {
		r.fail()
		return
	}
	if r.b[0] == tagNil {
		r.b = r.b[1:]
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.into(v.Elem(), depth+1)
		return
	case reflect.Interface:
		if x := r.any(depth + 1); x != nil && v.NumMethod() == 0 {
			v.Set(reflect.ValueOf(x))
		}
		return
	}
	tag, kind := r.byte(), v.Kind()
	switch {
	case (tag == tagTrue || tag == tagFalse) && kind == reflect.Bool:
		v.SetBool(tag == tagTrue)
	case tag == tagInt && v.CanInt():
		v.SetInt(r.int())
	case tag == tagUint && v.CanUint():
		v.SetUint(r.uint())
	case tag == tagFloat && v.CanFloat():
		v.SetFloat(r.float())
	case tag == tagString && kind == reflect.String:
		v.SetString(r.str())
	case tag == tagBytes && kind == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes(append(make([]byte, 0), r.bytes()...))
	case tag == tagList && kind == reflect.Slice:
		n := r.count()
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			r.into(v.Index(i), depth+1)
		}
	case tag == tagMap && kind == reflect.Map:
		n := r.count()
		v.Set(reflect.MakeMapWithSize(v.Type(), n))
		for range n {
			key, x := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			r.into(key, depth+1)
			r.into(x, depth+1)
			if r.bad {
				return
			}
			v.SetMapIndex(key, x)
		}
	case tag == tagNow && v.Type() == nowType:
		v.Set(reflect.ValueOf(r.now()))
	case tag == tagTime && v.Type() == timeType:
		v.Set(reflect.ValueOf(r.time()))
	case tag == tagToggle && v.Type() == toggleType:
	case tag == tagStruct && kind == reflect.Struct:
		all := fields(v.Type())
		for !r.bad {
			name := r.bytes()
			if len(name) == 0 {
				return
			}
			known := false
			for _, f := range all {
				if f.name == string(name) {
					r.into(v.Field(f.index), depth+1)
					known = true
					break
				}
			}
			if !known {
				r.any(depth + 1)
			}
		}
	default:
		r.b = append([]byte{tag}, r.b...)
		r.any(depth + 1)
	}
}

// any is a value whose type nothing but its tag tells.
func (r *reader) any(depth int) any {
	if depth > maxDepth {
		r.fail()
		return nil
	}
	switch r.byte() {
	case tagTrue:
		return true
	case tagFalse:
		return false
	case tagInt:
		return r.int()
	case tagUint:
		return r.uint()
	case tagFloat:
		return r.float()
	case tagString:
		return r.str()
	case tagBytes:
		return append(make([]byte, 0), r.bytes()...)
	case tagList:
		list := make([]any, r.count())
		for i := range list {
			list[i] = r.any(depth + 1)
		}
		return list
	case tagMap:
		n := r.count()
		m := make(map[string]any, n)
		for range n {
			key, _ := r.any(depth + 1).(string)
			m[key] = r.any(depth + 1)
		}
		return m
	case tagStruct:
		for len(r.bytes()) > 0 && !r.bad {
			r.any(depth + 1)
		}
	case tagNow:
		return r.now()
	case tagTime:
		return r.time()
	case tagToggle:
		return devices.Toggle{}
	case tagNil:
	default:
		r.fail()
	}
	return nil
}

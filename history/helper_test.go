package history

import (
	"fmt"
	"math"
	"os"
	"reflect"
	"testing"
	"time"
)

type fataler interface{ Fatal(args ...any) }

func mkdir(t fataler, dir string) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// plain makes of an entry what reflect.DeepEqual can compare and a person can read:
// moments as numbers, floats as their bits, and without what is not kept.
func plain(e Entry) any {
	e.At, e.Sure, e.Unit = time.Time{}, false, ""
	return plainValue(reflect.ValueOf(e), "")
}

func plainValue(v reflect.Value, path string) any {
	if !v.IsValid() {
		return nil
	}
	if t, ok := v.Interface().(time.Time); ok {
		return fmt.Sprint("time ", t.UnixMicro())
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plainValue(v.Elem(), path)
	case reflect.Float64:
		return fmt.Sprintf("float %x", math.Float64bits(v.Float()))
	case reflect.Struct:
		m := map[string]any{"": v.Type().String()}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && f.Type.Kind() != reflect.Func && !(f.Name == "Old" && path == ".Event.Readings") {
				m[f.Name] = plainValue(v.Field(i), path+"."+f.Name)
			}
		}
		return m
	case reflect.Slice:
		if v.IsNil() {
			return "nil"
		}
		list := []any{v.Type().String()}
		for i := range v.Len() {
			list = append(list, plainValue(v.Index(i), path))
		}
		return list
	case reflect.Map:
		m := map[string]any{}
		for at := v.MapRange(); at.Next(); {
			m[fmt.Sprint(at.Key())] = plainValue(at.Value(), path)
		}
		return m
	}
	return fmt.Sprintf("%T %#v", v.Interface(), v.Interface())
}

// show prints without what is empty.
func show(v any) string {
	switch v := v.(type) {
	case map[string]any:
		s := "{"
		for k, x := range v {
			if x != nil && x != "nil" && x != `string ""` && x != "bool false" {
				s += k + ":" + show(x) + " "
			}
		}
		return s + "}"
	case []any:
		s := "["
		for _, x := range v {
			s += show(x) + " "
		}
		return s + "]"
	}
	return fmt.Sprint(v)
}

// fastDir is a folder in memory, where there is one: for tests that wait for a disk very
// often, and are not about what it does.
func fastDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "hearth-history-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

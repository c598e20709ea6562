declare module 'topojson-client' {
  type Ring = readonly (readonly [number, number])[];
  interface Feature {
    geometry:
      | { type: 'Polygon'; coordinates: readonly Ring[] }
      | { type: 'MultiPolygon'; coordinates: readonly (readonly Ring[])[] };
  }
  /** An object of a topology as polygons of longitudes and latitudes. */
  export function feature(
    topology: object,
    object: object,
  ): Feature | { type: 'FeatureCollection'; features: readonly Feature[] };
}

/** Version of the package, put in by the build. */
declare const S3MP_VERSION: string;

/** The head end's page, put together by the build. */
declare module 'embedded:page' {
  const page: { readonly html: string; readonly script: string; readonly style: string };
  export default page;
}
/** Seconds since the epoch of the newest commit in the build, or SOURCE_DATE_EPOCH. */
declare const S3MP_BUILD_S: number;
